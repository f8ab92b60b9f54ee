from launch.interrupt import end_while_importing

end_while_importing()

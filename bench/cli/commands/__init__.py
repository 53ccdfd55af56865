"""What can be typed: arguments, options and help of every command. What a command does is imported when it runs."""

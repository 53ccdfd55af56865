"""Running a plan: jobs, worker processes, the driver that hands out the one to the other."""

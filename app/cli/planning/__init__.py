"""What ``tidegate plan`` reads, prints and draws.

`profile_file` checks the file, `reading` makes of it what `autoscaling.optimizer` takes, `tables`,
`document` and `picture` show what came of it. Nothing here decides.
"""

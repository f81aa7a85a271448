"""What can go wrong in a schedule: each fault by its name, and how likely it strikes where it can."""

# At each place where it can strike: this likely.
CHANCES = {
    # our processes
    "crash": 0.01,  # before a step; bd then outlives the process that ran it
    "asked to stop": 0.05,  # SIGTERM, some time after a process has begun
    "clock differs": 1.0,  # by up to three minutes, from the start of a process
    "clock jumps": 0.004,  # the time of day moves by up to an hour, forwards or back
    # the database
    "Dolt away": 0.005,  # for seconds to minutes; every connection and lock is gone
    "connection cut": 0.01,
    "lost lock": 0.01,  # the connection lives, but its lock does not
    "tick by hand": 0.5,  # somebody starts one more tick right after a lock is lost
    # bd
    "bd away": 0.01,  # its circuit breaker is open, for 5 s to minutes
    "bd slow": 0.05,  # it tries inside, for up to 30 s
    "bd written, exit 1": 0.03,
    "bd killed at its deadline": 0.02,
    "serialization failure": 0.4,  # error 1213, where two writes meet
    "lost note": 0.6,  # the same, with exit 0 on both sides: bd 1.0.2
    "lost marks": 0.4,
    # BeadBoard and the agent service
    "refused": 0.15,
    "board away": 0.02,  # for seconds to minutes
    "service away": 0.02,
    "service slow": 0.05,  # an answer takes up to 9 s
    "service restarts": 0.01,  # and forgets every job
    "answer slow": 0.1,  # that to the POST, up to 55 s
    "answer lost": 0.15,  # after the agent was started
    "answer odd": 0.05,  # the same, without a job id
    "acted on late": 0.05,  # up to 60 s after the client gave up
    "says free": 0.1,  # BeadBoard's status while there is no room
    "job in doubt": 0.05,  # the agent service answers with nonsense
    # agents and people
    "agent misbehaves": 0.7,  # otherwise it closes its bead
    "usage limit": 0.1,
    "agent breaks": 0.1,  # no agent can work, for minutes to an hour
    "other hands": 1.0,  # a person acts
    "hasty person": 0.3,  # the same, within seconds of a POST, or of a sweep's begin
    "taken back": 0.3,  # an import or a merge takes a bead back to any earlier state
    "usurper": 0.03,  # during a POST the lock is lost, the bead set open, and another tick begins
}
FAULTS = tuple(CHANCES)

# Only if agents are Kubernetes Jobs.
OF_CLUSTER = {
    "API away": 0.02,  # for seconds to minutes
    "API slow": 0.05,  # an answer takes up to 9 s
    "dies after a create": 0.05,  # our process, before it can record anything
    "pod late": 0.15,  # its image, a node or a quota is missing, for up to 25 minutes
    "Job deleted": 0.05,  # by hand, at any moment
    "cleaned up": 0.1,  # by somebody, within ten minutes of its end
    "evicted": 0.05,
    "node lost": 0.05,  # for up to 25 minutes; the agent may work on
    "backup restored": 0.05,  # while a bead runs: the bead is as it was made, and our ledger is empty
}

# What BeadBoard answers where nothing was started: each row of the table in docs and core/beadboard_answers.py.
STARTED_NOTHING = (
    (409, "Agent is busy"),
    (429, "Too many requests"),
    (502, "Queue full"),
    (500, "Claude agent service is not configured (URL)"),
    (502, "Invalid token"),
    (502, "Service unauthenticated"),
    (502, "Not Found"),
    (502, "Agent service returned HTTP 404."),
    (502, "Failed to parse URL from x"),
    (308, ""),
    (404, ""),
    (400, "Bead X not found."),
    (400, "taskId is required."),
)
# And where it cannot be told. The agent may have been started or not.
UNCLEAR = ((502, "fetch failed"), (502, "Agent service response missing job_id."), (504, ""), (200, ""), (None, "lost"))

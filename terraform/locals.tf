locals {
  # --- the two jobs: all that they differ in ---
  jobs = {
    dispatcher = {
      name     = var.dispatcher_name
      schedule = var.dispatcher_schedule
      command  = ["beads-dispatcher"]
      env      = merge(local.common_env, local.start_env, local.dispatcher_env, { BEADS_ACTOR = "beads-dispatcher" })
    }
    reaper = {
      name     = var.reaper_name
      schedule = var.reaper_schedule
      command  = ["beads-reaper"]
      env      = merge(local.common_env, { BEADS_ACTOR = "beads-reaper" })
    }
  }
  cron_jobs = { for key, job in local.jobs : key => job if var.mode == "cronjobs" }
  watchers  = var.mode == "watch" ? 1 : 0

  # --- where agents run ---
  runs_jobs   = var.runner == "jobs" ? 1 : 0
  makes_agent = var.agent == null ? 0 : 1
  agent_name  = var.agent == null ? var.agent_cron_job : var.agent.name
  # Where the namespace is made here, everything in it must wait for it.
  agent_namespace = var.create_agent_namespace && var.runner == "jobs" ? kubernetes_namespace_v1.agents[0].metadata[0].name : var.agent_namespace

  # --- the environment ---
  # What both jobs need to know of the runner, and what only a start needs.
  runner_env = var.runner == "jobs" ? tomap({
    BEADS_AGENT_CRONJOB = "${local.agent_namespace}/${local.agent_name}"
    BEADS_AGENT_JOBS    = tostring(var.agent_jobs)
  }) : tomap({ for url in var.agent_service_url[*] : "AGENT_SERVICE_URL" => url }) # the reaper asks it too: how a run ended
  start_env = var.runner == "jobs" ? tomap({}) : tomap({ BEADBOARD_URL = var.beadboard_url })
  # The threshold too: a tick learns how runs ended before it starts more.
  common_env = merge(var.extra_env, local.runner_env, local.token_env, {
    BEADS_ASSIGNEE                 = var.assignee
    BEADS_REAPER_THRESHOLD_MINUTES = tostring(var.reaper_threshold_minutes)
    HOME                           = "/tmp"
    LOG_FORMAT                     = var.log_format
  })
  # Mounted, because a variable would stay as it was when the Secret changes.
  token_env      = { for secret in var.agent_service_token_secret[*] : "API_BEARER_TOKEN_FILE" => "${local.mount_paths.token}/token" }
  dispatcher_env = merge(local.limits_env, { BEADS_DISPATCH_PER_TICK = tostring(var.beads_per_tick) })
  limits_env = { for name, value in {
    BEADS_DISPATCH_HOURS   = var.dispatch_hours
    BEADS_DISPATCH_PER_DAY = var.runs_per_day == null ? null : tostring(var.runs_per_day)
  } : name => value if value != null }
  watcher_env = merge(local.common_env, local.start_env, local.dispatcher_env)
  own_env = [
    "AGENT_SERVICE_URL", "API_BEARER_TOKEN", "API_BEARER_TOKEN_FILE", "BEADBOARD_URL", "BEADS_ACTOR", "BEADS_AGENT_CRONJOB", "BEADS_AGENT_JOBS", "BEADS_ASSIGNEE",
    "BEADS_DISPATCH_HOURS", "BEADS_DISPATCH_PER_DAY", "BEADS_DISPATCH_PER_TICK", "BEADS_DOLT_PASSWORD", "BEADS_NOTIFY_URLS", "BEADS_REAPER_THRESHOLD_MINUTES", "HOME", "LOG_FORMAT",
  ]
  # By reference: Terraform never reads the Secrets.
  secret_env = { for name, secret in {
    BEADS_DOLT_PASSWORD = var.dolt_password_secret
    BEADS_NOTIFY_URLS   = var.notify_urls_secret
  } : name => secret if secret != null }

  # --- where bd finds the database; Kubernetes, and so Terraform, sorts the keys ---
  metadata = jsonencode({
    database         = "dolt"
    backend          = "dolt"
    dolt_mode        = "server"
    dolt_server_host = var.dolt_host
    dolt_server_port = var.dolt_port
    dolt_server_user = var.dolt_user
    dolt_database    = var.dolt_database
    project_id       = var.project_id
  })

  # --- names ---
  # Where the namespace is made here, everything in it must wait for it.
  namespace = var.create_namespace ? kubernetes_namespace_v1.this[0].metadata[0].name : var.namespace
  labels    = merge(var.labels, { "app.kubernetes.io/name" = "beads-dispatch" })
  # What tells this call's pods from those of another call in the same namespace.
  watcher_selector = { "app.kubernetes.io/name" = "beads-dispatch", "app.kubernetes.io/instance" = var.watcher_name }
  instances        = var.mode == "watch" ? [var.watcher_name] : [var.dispatcher_name, var.reaper_name]

  # --- the pods, the same for every one ---
  user        = var.run_as_user == null ? null : tostring(var.run_as_user)
  metrics     = { name = "metrics", port = 8080 }
  tmp_size    = "32Mi" # counts against the memory limit
  grace       = 150    # a POST (60 s), up to 60 s to record it, and bd's own deadlines
  mount_paths = { metadata = "/etc/beads-metadata", tmp = "/tmp", token = "/etc/agent-service" }

  # --- who may talk to whom ---
  services = {
    beadboard     = { namespace = "beads-server", pod_labels = {}, cidr = null, port = 3000 }
    agent_service = { namespace = "claude-agent", pod_labels = {}, cidr = null, port = 8080 }
  }
  peers = merge({
    dolt = { namespace = "beads-server", pod_labels = {}, cidr = null, port = 3306 }
    dns  = { namespace = "kube-system", pod_labels = {}, cidr = null, port = 53 }
  }, { for name, peer in local.services : name => peer if var.runner == "beadboard" }, var.network_policy_peers)

  # --- for the validations ---
  dns_label  = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
  dns_name   = "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
  secret_key = "^(\\.[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,251}|[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,252})$" # as Kubernetes has it: not . or ..x
  url        = "^https?://[^/@[:space:]?#]+(/[^@[:space:]?#]*)?$"

  # Hours: days, times or both.
  day   = "(?i:mon(day)?|tue(s(day)?)?|wed(nesday)?|thu(rs?(day)?)?|fri(day)?|sat(urday)?|sun(day)?)"
  time  = "(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00|(0?[1-9]|1[0-2])(:[0-5][0-9])?(?i:[ap]m))"
  hours = "^(${local.day}(\\s*-\\s*${local.day})?|${local.time}\\s*-\\s*${local.time})(\\s+(${local.day}(\\s*-\\s*${local.day})?|${local.time}\\s*-\\s*${local.time}))*$"

  # A schedule's five fields: each a list of *, a value or a range, with a step or without.
  cron_values = [
    "[0-5]?[0-9]",
    "([01]?[0-9]|2[0-3])",
    "(0?[1-9]|[12][0-9]|3[01])",
    "(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))",
    "([0-6]|(?i:sun|mon|tue|wed|thu|fri|sat))",
  ]
  cron_items  = [for value in local.cron_values : "([*?]|${value}(-${value})?)(/[1-9][0-9]*)?"]
  cron_fields = [for item in local.cron_items : "^${item}(,${item})*$"]
  cron_names  = "^@(hourly|daily|midnight|weekly|monthly|yearly|annually)$"
}

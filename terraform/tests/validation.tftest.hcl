# Both sides of each validation: what is just allowed, and what is refused.
mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "allowed_at_the_lower_edge" {
  command = plan

  variables {
    image                      = "a"
    namespace                  = "a"
    dispatcher_name            = "a"
    reaper_name                = "b"
    watcher_name               = "w"
    metadata_config_map_name   = "m"
    assignee                   = "a"
    project_id                 = "00000000-0000-0000-0000-000000000000"
    dolt_host                  = "d"
    dolt_port                  = 1
    dolt_user                  = "u"
    dolt_database              = "d"
    dolt_password_secret       = { name = "d", key = "k" }
    agent_service_token_secret = { name = "t", key = ".t" }
    notify_urls_secret         = { name = "t", key = ".t" }
    beadboard_url              = "http://b"
    agent_service_url          = "http://a"
    beads_per_tick             = 1
    dispatch_hours             = "Mon"
    runs_per_day               = 1
    reaper_threshold_minutes   = 15
    dispatcher_schedule        = "* * * * *"
    reaper_schedule            = "@hourly"
    time_zone                  = "UTC"
    extra_env                  = { _X = "" }
    labels                     = { x = "" }
    tolerations                = [{ operator = "Exists" }]
    cpu_request                = "1m"
    cpu_limit                  = "1m"
    run_as_user                = 1
    pod_labels                 = { x = "" }
    runner                     = "beadboard"
    agent                      = null
    agent_cron_job             = null
    agent_namespace            = "b"
    agent_jobs                 = 1
    network_policy_enabled     = true
    memory_request             = "1Mi"
    memory_limit               = "1Gi"
    image_pull_policy          = "Never"
    image_pull_secret          = "s"
    mode                       = "cronjobs"
    log_format                 = "text"
    network_policy_peers       = { dolt = { cidr = "10.0.0.5/32", port = 1 } }
    metrics_namespace          = "m"
    monitoring_labels          = { x = "y" }
    runbook_url                = "r"
  }
}

run "allowed_at_the_upper_edge" {
  command = plan

  variables {
    image                      = "r.example.org:5000/a_b/c-d:V1.0@sha256:0af90af90af90af90af90af90af90af90af90af90af90af90af90af90af90af9"
    namespace                  = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
    dispatcher_name            = "dddddddddddddddddddddddddddddddddddddddddddddddddddd"
    reaper_name                = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
    watcher_name               = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"
    metadata_config_map_name   = "m.n-o"
    assignee                   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    project_id                 = "ABCDEF01-2345-6789-abcd-ef0123456789"
    dolt_host                  = "10.89.0.1"
    dolt_port                  = 65535
    dolt_user                  = "beads@host"
    dolt_database              = "a_B-9"
    dolt_password_secret       = { name = "d.o-lt", key = "K_e.y-1" }
    agent_service_token_secret = { name = "d.o-lt", key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
    notify_urls_secret         = { name = "d.o-lt", key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
    beadboard_url              = "https://b.example.org:8443/x/"
    agent_service_url          = null
    beads_per_tick             = 999
    dispatch_hours             = "thursday Fri-Mon 00:00-24:00, 7:30pm - 12am 9am-5PM"
    runs_per_day               = 9999
    reaper_threshold_minutes   = 999999.5
    dispatcher_schedule        = "0,30,59 */2 1-31/2 JAN-dec,12 0-6,sat"
    reaper_schedule            = "59 23 31 12 ?"
    time_zone                  = "America/Argentina/Buenos_Aires"
    extra_env                  = { BEADS_DOLT_SERVER_TLS = "true" }
    labels                     = { "example.org/team" = "beads" }
    tolerations                = [{ key = "a", value = "b" }]
    cpu_request                = "0.5"
    cpu_limit                  = null
    run_as_user                = null
    pod_labels                 = { "sidecar.istio.io/inject" = "false" }
    runner                     = "jobs"
    agent                      = { image = "a", name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", deadline_seconds = 660, env = { BEADS_X = "y" }, volumes = { a = { mount_path = "/a", size = "1Gi" } } }
    agent_cron_job             = null
    agent_namespace            = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    agent_jobs                 = 999
    network_policy_enabled     = true
    memory_request             = "100Ki"
    memory_limit               = "2Gi"
    image_pull_policy          = "Always"
    image_pull_secret          = null
    mode                       = "watch"
    log_format                 = "json"
    network_policy_peers       = { api_server = { cidr = "fd00::/8", port = 443 }, proxy = { namespace = "a", pod_labels = { a = "b" }, port = 65535 }, dns = { cidr = "fd00::/8", port = 53 } }
    metrics_namespace          = null
    monitoring_labels          = { release = "kube-prometheus-stack" }
    runbook_url                = "https://wiki.example.org/runbook?page=1"
  }
}

run "refused_empty" {
  command = plan

  variables {
    image                      = ""
    namespace                  = ""
    reaper_name                = ""
    watcher_name               = ""
    metadata_config_map_name   = ""
    assignee                   = ""
    project_id                 = ""
    dolt_host                  = ""
    dolt_user                  = ""
    dolt_database              = ""
    beadboard_url              = ""
    agent_service_url          = ""
    dispatcher_schedule        = ""
    reaper_schedule            = ""
    time_zone                  = ""
    image_pull_policy          = ""
    image_pull_secret          = ""
    mode                       = ""
    log_format                 = ""
    cpu_request                = ""
    cpu_limit                  = ""
    run_as_user                = 0
    pod_labels                 = { "app.kubernetes.io/name" = "x" }
    agent_cron_job             = ""
    agent_jobs                 = 0
    memory_request             = ""
    memory_limit               = ""
    metrics_namespace          = ""
    monitoring_labels          = { "app.kubernetes.io/name" = "x" }
    runbook_url                = ""
    dolt_password_secret       = { name = "", key = "k" }
    agent_service_token_secret = { name = "", key = "api_bearer_token" }
    notify_urls_secret         = { name = "", key = "api_bearer_token" }
    extra_env                  = { "" = "x" }
    dolt_port                  = 0
    beads_per_tick             = 0
    dispatch_hours             = ""
    runs_per_day               = 0
    reaper_threshold_minutes   = 0
    tolerations                = [{ operator = "" }]
    network_policy_peers       = { dolt = { port = 3306 } }
  }

  expect_failures = [
    var.image,
    var.namespace,
    var.reaper_name,
    var.watcher_name,
    var.metadata_config_map_name,
    var.assignee,
    var.project_id,
    var.dolt_host,
    var.dolt_user,
    var.dolt_database,
    var.beadboard_url,
    var.agent_service_url,
    var.dispatcher_schedule,
    var.reaper_schedule,
    var.time_zone,
    var.image_pull_policy,
    var.image_pull_secret,
    var.mode,
    var.log_format,
    var.cpu_request,
    var.cpu_limit,
    var.run_as_user,
    var.pod_labels,
    var.agent_cron_job,
    var.agent_jobs,
    var.memory_request,
    var.memory_limit,
    var.metrics_namespace,
    var.monitoring_labels,
    var.runbook_url,
    var.dolt_password_secret,
    var.agent_service_token_secret,
    var.notify_urls_secret,
    var.extra_env,
    var.dolt_port,
    var.beads_per_tick,
    var.dispatch_hours,
    var.runs_per_day,
    var.reaper_threshold_minutes,
    var.tolerations,
    var.network_policy_peers,
  ]
}

run "refused_just_beyond" {
  command = plan

  variables {
    namespace                  = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
    reaper_name                = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
    watcher_name               = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"
    metadata_config_map_name   = "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
    assignee                   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    project_id                 = "00000000-0000-0000-0000-00000000000"
    dolt_port                  = 65536
    beads_per_tick             = 1000
    dispatch_hours             = "Mon-Fri 19:00-24:01"
    runs_per_day               = 10000
    reaper_threshold_minutes   = 14.9
    dispatcher_schedule        = "60 * * * *"
    reaper_schedule            = "* * * * 7"
    image_pull_policy          = "ifNotPresent"
    mode                       = "cronjob"
    log_format                 = "JSON"
    network_policy_peers       = { dolt = { namespace = "a", port = 65536 } }
    dolt_password_secret       = { name = "dolt", key = "" }
    agent_service_token_secret = { name = "beadboard-agent-service", key = "" }
    notify_urls_secret         = { name = "beadboard-agent-service", key = "" }
    extra_env                  = { "9X" = "x" }
  }

  expect_failures = [
    var.namespace,
    var.reaper_name,
    var.watcher_name,
    var.metadata_config_map_name,
    var.assignee,
    var.project_id,
    var.dolt_port,
    var.beads_per_tick,
    var.dispatch_hours,
    var.runs_per_day,
    var.reaper_threshold_minutes,
    var.dispatcher_schedule,
    var.reaper_schedule,
    var.image_pull_policy,
    var.mode,
    var.log_format,
    var.network_policy_peers,
    var.dolt_password_secret,
    var.agent_service_token_secret,
    var.notify_urls_secret,
    var.extra_env,
  ]
}

run "refused_wrong_kind" {
  command = plan

  variables {
    image                      = "my image"
    namespace                  = "Beads"
    reaper_name                = "beads.reaper"
    watcher_name               = "9watcher"
    metadata_config_map_name   = "beads/metadata"
    assignee                   = "   "
    project_id                 = "code"
    dolt_host                  = "dolt:3306"
    dolt_port                  = 3306.5
    dolt_user                  = "a b"
    dolt_database              = "code/main"
    dolt_password_secret       = { name = "no such name", key = "k" }
    agent_service_token_secret = { name = "beadboard-agent-service", key = "api bearer token" }
    notify_urls_secret         = { name = "beadboard-agent-service", key = "api bearer token" }
    beadboard_url              = "beadboard:3000"
    agent_service_url          = "http://user:secret@host"
    beads_per_tick             = 1.5
    dispatch_hours             = "nights"
    runs_per_day               = 1.5
    dispatcher_schedule        = "every two minutes"
    reaper_schedule            = "* * * *"
    time_zone                  = "two o'clock"
    extra_env                  = { BEADS_DOLT_PASSWORD = "secret" }
    labels                     = { "app.kubernetes.io/name" = "x" }
    tolerations                = [{ operator = "Maybe" }]
    cpu_request                = "lots"
    memory_request             = "128"
    memory_limit               = "256 Mi"
    image_pull_secret          = "Registry"
    network_policy_peers       = { dolt = { cidr = "10.0.0.5", port = 3306 } }
    metrics_namespace          = "a/b"
    monitoring_labels          = { "app.kubernetes.io/part-of" = "x" }
    runbook_url                = "docs/runbook.md#top"
  }

  expect_failures = [
    var.image,
    var.namespace,
    var.reaper_name,
    var.watcher_name,
    var.metadata_config_map_name,
    var.assignee,
    var.project_id,
    var.dolt_host,
    var.dolt_port,
    var.dolt_user,
    var.dolt_database,
    var.dolt_password_secret,
    var.agent_service_token_secret,
    var.notify_urls_secret,
    var.beadboard_url,
    var.agent_service_url,
    var.beads_per_tick,
    var.dispatch_hours,
    var.runs_per_day,
    var.dispatcher_schedule,
    var.reaper_schedule,
    var.time_zone,
    var.extra_env,
    var.labels,
    var.tolerations,
    var.cpu_request,
    var.memory_request,
    var.memory_limit,
    var.image_pull_secret,
    var.network_policy_peers,
    var.metrics_namespace,
    var.monitoring_labels,
    var.runbook_url,
  ]
}

run "refused_more" {
  command = plan

  variables {
    beadboard_url              = "ftp://b"
    agent_service_url          = "http://a?b"
    dispatcher_schedule        = "* 24 * * *"
    reaper_schedule            = "*/0 * * * *"
    image                      = "a@sha256:12"
    dolt_host                  = "http://dolt"
    assignee                   = "a\nb"
    network_policy_peers       = { dolt = { namespace = "a", cidr = "10.0.0.5/32", port = 3306 } }
    time_zone                  = "Local"
    extra_env                  = { API_BEARER_TOKEN = "secret" }
    dolt_password_secret       = { name = "dolt", key = "..k" }
    agent_service_token_secret = { name = "beadboard-agent-service", key = "." }
    notify_urls_secret         = { name = "beadboard-agent-service", key = "." }
  }

  expect_failures = [
    var.beadboard_url,
    var.agent_service_url,
    var.dispatcher_schedule,
    var.reaper_schedule,
    var.image,
    var.dolt_host,
    var.assignee,
    var.network_policy_peers,
    var.time_zone,
    var.extra_env,
    var.dolt_password_secret,
    var.agent_service_token_secret,
    var.notify_urls_secret,
  ]
}

run "refused_still_more" {
  command = plan

  variables {
    beadboard_url              = "http://"
    agent_service_url          = "http://a b"
    dispatcher_schedule        = "* * 0 * *"
    reaper_schedule            = "* * * 13 *"
    network_policy_peers       = { dolt = { cidr = "10.0.0.5/32", pod_labels = { a = "b" }, port = 3306 } }
    agent_service_token_secret = { name = "beadboard-agent-service", key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
    notify_urls_secret         = { name = "beadboard-agent-service", key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
  }

  expect_failures = [
    var.beadboard_url,
    var.agent_service_url,
    var.dispatcher_schedule,
    var.reaper_schedule,
    var.network_policy_peers,
    var.agent_service_token_secret,
    var.notify_urls_secret,
  ]
}

run "refused_one_name_for_two" {
  command = plan

  variables {
    reaper_name = "beads-dispatcher"
  }

  expect_failures = [
    var.reaper_name,
  ]
}

run "refused_dispatcher_name_empty" {
  command = plan

  variables {
    dispatcher_name = ""
  }

  expect_failures = [var.dispatcher_name]
}

run "refused_dispatcher_name_too_long" {
  command = plan

  variables {
    dispatcher_name = "ddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }

  expect_failures = [var.dispatcher_name]
}

run "refused_dispatcher_name_no_name" {
  command = plan

  variables {
    dispatcher_name = "beads_dispatcher"
  }

  expect_failures = [var.dispatcher_name]
}

run "refused_schedule_with_seconds" {
  command = plan

  variables {
    dispatcher_schedule = "0 */2 * * * *"
    reaper_schedule     = "@every 10m"
  }

  expect_failures = [
    var.dispatcher_schedule,
    var.reaper_schedule,
  ]
}

run "refused_agent_name_and_count" {
  command = plan

  variables {
    runner      = "jobs"
    agent       = { image = "a", name = "Agent" }
    agent_jobs  = 1.5
    run_as_user = 1.5
    cpu_limit   = "lots"
  }

  expect_failures = [var.agent, var.agent_jobs, var.run_as_user, var.cpu_limit]
}

run "refused_agent_deadline" {
  command = plan

  variables {
    runner = "jobs"
    agent  = { image = "a", deadline_seconds = 659 }
  }

  expect_failures = [var.agent]
}

run "refused_agent_volume_of_two_kinds" {
  command = plan

  variables {
    runner = "jobs"
    agent  = { image = "a", volumes = { a = { mount_path = "/a", size = "1Gi", claim = "c" } } }
  }

  expect_failures = [var.agent]
}

run "refused_agent_volume_of_no_kind" {
  command = plan

  variables {
    runner = "jobs"
    agent  = { image = "a", volumes = { a = { mount_path = "/a" } } }
  }

  expect_failures = [var.agent]
}

run "refused_agent_env" {
  command = plan

  variables {
    runner = "jobs"
    agent  = { image = "a", env = { BEAD_ID = "x" } }
  }

  expect_failures = [var.agent]
}

run "refused_agent_secret_env" {
  command = plan

  variables {
    runner = "jobs"
    agent  = { image = "a", secret_env = { BEADS_ACTOR = { name = "a", key = "b" } } }
  }

  expect_failures = [var.agent]
}

run "refused_agent_cron_job_too_long" {
  command = plan

  variables {
    runner         = "jobs"
    agent_cron_job = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  expect_failures = [var.agent_cron_job]
}

run "refused_runner" {
  command = plan

  variables {
    runner = ""
  }

  expect_failures = [var.runner]
}

run "refused_agent_namespace" {
  command = plan

  variables {
    agent_namespace = ""
  }

  expect_failures = [var.agent_namespace]
}

run "refused_agent_namespace_too_long" {
  command = plan

  variables {
    agent_namespace = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  expect_failures = [var.agent_namespace]
}

run "refused_network_policy_without_the_api_server" {
  command = plan

  variables {
    runner                 = "jobs"
    agent                  = { image = "a" }
    network_policy_enabled = true
  }

  expect_failures = [var.network_policy_enabled]
}

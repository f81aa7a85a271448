# What each input changes, in mode cronjobs; watch.tftest.hcl has the same for mode watch.
mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "names" {
  command = plan

  variables {
    namespace                = "beads-two"
    dispatcher_name          = "night-dispatcher"
    reaper_name              = "night-reaper"
    metadata_config_map_name = "night-metadata"
  }

  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => "${job.metadata[0].namespace}/${job.metadata[0].name}" } == { dispatcher = "beads-two/night-dispatcher", reaper = "beads-two/night-reaper" }
    error_message = "CronJobs by the names given"
  }
  assert {
    condition     = "${kubernetes_config_map_v1.beads_metadata.metadata[0].namespace}/${kubernetes_config_map_v1.beads_metadata.metadata[0].name}" == "beads-two/night-metadata"
    error_message = "a ConfigMap by the name given"
  }
  assert {
    condition     = alltrue([for job in kubernetes_cron_job_v1.this : one([for volume in job.spec[0].job_template[0].spec[0].template[0].spec[0].volume : volume.config_map[0].name if volume.name == "metadata"]) == "night-metadata"])
    error_message = "and the pods mount that one"
  }
  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => one([for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.value if env.name == "BEADS_ACTOR"]) } == { dispatcher = "beads-dispatcher", reaper = "beads-reaper" }
    error_message = "who bd says has written stays"
  }
  assert {
    condition = alltrue([
      output.namespace == "beads-two",
      output.metadata_config_map_name == "night-metadata",
      output.cron_jobs == { dispatcher = "night-dispatcher", reaper = "night-reaper" },
    ])
    error_message = "the outputs follow"
  }
}

run "create_namespace" {
  command = plan

  variables {
    namespace        = "beads-two"
    create_namespace = true
  }

  assert {
    condition     = [for namespace in kubernetes_namespace_v1.this : namespace.metadata[0].name] == ["beads-two"]
    error_message = "the namespace is made"
  }
  assert {
    condition     = alltrue([for job in kubernetes_cron_job_v1.this : job.metadata[0].namespace == "beads-two"])
    error_message = "and used"
  }
}

run "the_database" {
  command = plan

  variables {
    dolt_host     = "10.89.0.1"
    dolt_port     = 13306
    dolt_user     = "dispatcher"
    dolt_database = "other"
    project_id    = "9b4e28ba-2fa1-11d2-883f-0016d3cca427"
  }

  assert {
    condition = alltrue([for metadata in [jsondecode(kubernetes_config_map_v1.beads_metadata.data["metadata.json"])] : alltrue([
      metadata.dolt_server_host == "10.89.0.1",
      metadata.dolt_server_port == 13306,
      metadata.dolt_server_user == "dispatcher",
      metadata.dolt_database == "other",
      metadata.project_id == "9b4e28ba-2fa1-11d2-883f-0016d3cca427",
      metadata.database == "dolt",
    ])])
    error_message = "metadata.json points at the database given"
  }
}

run "the_password_is_a_reference" {
  command = plan

  variables {
    dolt_password_secret = { name = "dolt", key = "beads-password" }
  }

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : [
      for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : "${env.value_from[0].secret_key_ref[0].name}/${env.value_from[0].secret_key_ref[0].key}"
      if env.name == "BEADS_DOLT_PASSWORD" && env.value == null
    ] == ["dolt/beads-password"]])
    error_message = "BEADS_DOLT_PASSWORD comes from the Secret, by reference"
  }
}

run "the_token_is_a_reference" {
  command = plan

  variables {
    agent_service_token_secret = { name = "beadboard-agent-service", key = "api_bearer_token" }
  }

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      [for env in pod.container[0].env : env.value if env.name == "API_BEARER_TOKEN_FILE"] == ["/etc/agent-service/token"],
      [for env in pod.container[0].env : env.name if env.value == null] == [],
      [for mount in pod.container[0].volume_mount : "${mount.mount_path} ${mount.read_only}" if mount.name == "token"] == ["/etc/agent-service true"],
      [for one in pod.volume : "${one.secret[0].secret_name} ${one.secret[0].items[0].key} ${one.secret[0].items[0].path}" if one.name == "token"] == ["beadboard-agent-service api_bearer_token token"],
    ])])])
    error_message = "the token is mounted from the Secret, by reference, in both jobs' pods"
  }
}

run "the_urls_for_messages_are_a_reference" {
  command = plan

  variables {
    notify_urls_secret = { name = "beads-notify", key = "urls" }
  }

  assert {
    condition = { for key, job in kubernetes_cron_job_v1.this : key => join(", ", [
      for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : "${env.name} ${env.value_from[0].secret_key_ref[0].name}/${env.value_from[0].secret_key_ref[0].key}"
      if env.value == null
      ]) } == {
      dispatcher = "BEADS_NOTIFY_URLS beads-notify/urls"
      reaper     = "BEADS_NOTIFY_URLS beads-notify/urls"
    }
    error_message = "BEADS_NOTIFY_URLS comes from the Secret, by reference, in both jobs' pods, and nothing else does"
  }
}

run "the_environment" {
  command = plan

  variables {
    assignee                 = "night agent"
    beadboard_url            = "https://board.example.org/beads"
    agent_service_url        = "http://10.89.0.1:8080"
    beads_per_tick           = 3
    reaper_threshold_minutes = 22.5
    log_format               = "json"
    extra_env                = { BEADS_DOLT_SERVER_TLS = "true" }
  }

  assert {
    condition = { for env in kubernetes_cron_job_v1.this["dispatcher"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } == {
      AGENT_SERVICE_URL              = "http://10.89.0.1:8080"
      BEADBOARD_URL                  = "https://board.example.org/beads"
      BEADS_ACTOR                    = "beads-dispatcher"
      BEADS_ASSIGNEE                 = "night agent"
      BEADS_DISPATCH_PER_TICK        = "3"
      BEADS_REAPER_THRESHOLD_MINUTES = "22.5"
      BEADS_DOLT_SERVER_TLS          = "true"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "json"
    }
    error_message = "the dispatcher is told"
  }
  assert {
    condition = { for env in kubernetes_cron_job_v1.this["reaper"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } == {
      AGENT_SERVICE_URL              = "http://10.89.0.1:8080"
      BEADS_ACTOR                    = "beads-reaper"
      BEADS_ASSIGNEE                 = "night agent"
      BEADS_DOLT_SERVER_TLS          = "true"
      BEADS_REAPER_THRESHOLD_MINUTES = "22.5"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "json"
    }
    error_message = "the reaper is told"
  }
}

run "hours_and_a_budget" {
  command = plan

  variables {
    dispatch_hours = "Mon-Fri 19:00-07:00, Sat-Sun"
    runs_per_day   = 20
  }

  assert {
    condition = { for key, job in kubernetes_cron_job_v1.this : key => {
      for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value
      if contains(["BEADS_DISPATCH_HOURS", "BEADS_DISPATCH_PER_DAY"], env.name)
      } } == {
      dispatcher = { BEADS_DISPATCH_HOURS = "Mon-Fri 19:00-07:00, Sat-Sun", BEADS_DISPATCH_PER_DAY = "20" }
      reaper     = {}
    }
    error_message = "the dispatcher is told, and the reaper starts nothing"
  }
}

run "no_agent_service" {
  command = plan

  variables {
    agent_service_url = null
  }

  assert {
    condition     = alltrue([for job in kubernetes_cron_job_v1.this : !contains([for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name], "AGENT_SERVICE_URL")])
    error_message = "null leaves AGENT_SERVICE_URL unset, in both"
  }
}

run "the_schedules" {
  command = plan

  variables {
    dispatcher_schedule = "*/5 0-5 * * MON-FRI"
    reaper_schedule     = "@hourly"
    time_zone           = "Europe/Berlin"
  }

  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => "${job.spec[0].timezone} ${job.spec[0].schedule}" } == { dispatcher = "Europe/Berlin */5 0-5 * * MON-FRI", reaper = "Europe/Berlin @hourly" }
    error_message = "each its own schedule, both in the time zone"
  }
}

run "the_pods" {
  command = plan

  variables {
    image               = "registry.example.org/beads-dispatch@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    image_pull_policy   = "Always"
    image_pull_secret   = "registry-credentials"
    node_selector       = { disk = "fast" }
    priority_class_name = "low"
    tolerations         = [{ key = "spot", operator = "Exists", effect = "NoExecute", toleration_seconds = 60 }, { key = "team", value = "beads" }]
    cpu_request         = "10m"
    memory_request      = "64Mi"
    memory_limit        = "1Gi"
  }

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.container[0].image == "registry.example.org/beads-dispatch@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
      pod.container[0].image_pull_policy == "Always",
      [for secret in pod.image_pull_secrets : secret.name] == ["registry-credentials"],
    ])])])
    error_message = "the image, when to pull it and with what"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.node_selector == tomap({ disk = "fast" }),
      pod.priority_class_name == "low",
      [for one in pod.toleration : join(" ", [one.key, one.operator, coalesce(one.value, "-"), coalesce(one.effect, "-"), coalesce(one.toleration_seconds, "-")])] == ["spot Exists - NoExecute 60", "team Equal beads - -"],
    ])])])
    error_message = "where it may run, and what comes first"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for resources in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].resources :
      resources.requests == tomap({ cpu = "10m", memory = "64Mi" }) && resources.limits == tomap({ memory = "1Gi" })
    ])])
    error_message = "what it asks for and may use"
  }
}

run "labels" {
  command = plan

  variables {
    create_namespace       = true
    network_policy_enabled = true
    labels                 = { team = "beads" }
  }

  assert {
    condition = alltrue([for labels in concat(
      [kubernetes_config_map_v1.beads_metadata.metadata[0].labels, kubernetes_namespace_v1.this[0].metadata[0].labels, kubernetes_network_policy_v1.this[0].metadata[0].labels],
      [for job in kubernetes_cron_job_v1.this : job.metadata[0].labels],
      [for job in kubernetes_cron_job_v1.this : job.spec[0].job_template[0].metadata[0].labels],
      [for job in kubernetes_cron_job_v1.this : job.spec[0].job_template[0].spec[0].template[0].metadata[0].labels],
    ) : labels["team"] == "beads" && labels["app.kubernetes.io/name"] == "beads-dispatch"])
    error_message = "on every object, Job and pod, beside the module's own"
  }
  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.spec[0].job_template[0].spec[0].template[0].metadata[0].labels["app.kubernetes.io/instance"] } == { dispatcher = "beads-dispatcher", reaper = "beads-reaper" }
    error_message = "a pod tells whose it is"
  }
}

run "a_cluster_unlike_ours" {
  command = plan

  variables {
    annotations     = { "reloader.stakater.com/auto" = "true" }
    pod_labels      = { "sidecar.istio.io/inject" = "false" }
    pod_annotations = { "linkerd.io/inject" = "disabled" }
    cpu_limit       = "1"
    run_as_user     = null
  }

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([
      job.metadata[0].annotations == tomap({ "reloader.stakater.com/auto" = "true" }),
      job.spec[0].job_template[0].spec[0].template[0].metadata[0].labels["sidecar.istio.io/inject"] == "false",
      job.spec[0].job_template[0].spec[0].template[0].metadata[0].annotations == tomap({ "linkerd.io/inject" = "disabled" }),
    ])])
    error_message = "annotations of the CronJobs, labels and annotations of their pods"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.container[0].resources[0].limits == tomap({ cpu = "1", memory = "256Mi" }),
      pod.security_context[0].run_as_user == null,
      pod.security_context[0].run_as_group == null,
      pod.security_context[0].run_as_non_root == true,
    ])])])
    error_message = "a CPU limit, and the user that the cluster chooses"
  }
}

run "another_user" {
  command = plan

  variables {
    run_as_user = 1000
  }

  assert {
    condition     = alltrue([for job in kubernetes_cron_job_v1.this : [for context in job.spec[0].job_template[0].spec[0].template[0].spec[0].security_context : "${context.run_as_user} ${context.run_as_group}"] == ["1000 1000"]])
    error_message = "user and group as given"
  }
}

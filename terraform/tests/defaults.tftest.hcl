# What a user gets who gives nothing but the image and the project id.
mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "the_objects" {
  command = plan

  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.metadata[0].name } == { dispatcher = "beads-dispatcher", reaper = "beads-reaper" }
    error_message = "two CronJobs, by the names that users know"
  }
  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.spec[0].schedule } == { dispatcher = "*/2 * * * *", reaper = "*/10 * * * *" }
    error_message = "the schedules that users know"
  }
  assert {
    condition     = kubernetes_config_map_v1.beads_metadata.metadata[0].name == "beads-metadata"
    error_message = "the ConfigMap that users know"
  }
  assert {
    condition     = alltrue([for job in kubernetes_cron_job_v1.this : job.metadata[0].namespace == "beads-server"]) && kubernetes_config_map_v1.beads_metadata.metadata[0].namespace == "beads-server"
    error_message = "all in beads-server"
  }
  assert {
    condition     = length(kubernetes_namespace_v1.this) + length(kubernetes_deployment_v1.watcher) + length(kubernetes_service_v1.watcher) + length(kubernetes_network_policy_v1.this) == 0
    error_message = "nothing that was not asked for"
  }
}

run "the_metadata" {
  command = plan

  assert {
    condition = jsondecode(kubernetes_config_map_v1.beads_metadata.data["metadata.json"]) == {
      database         = "dolt"
      backend          = "dolt"
      dolt_mode        = "server"
      dolt_server_host = "dolt.beads-server.svc.cluster.local"
      dolt_server_port = 3306
      dolt_server_user = "beads"
      dolt_database    = "code"
      project_id       = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    }
    error_message = "metadata.json must be what bd reads"
  }
}

run "the_schedule_is_careful" {
  command = plan

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([
      job.spec[0].suspend == false,
      job.spec[0].timezone == null,
      job.spec[0].concurrency_policy == "Forbid",
      job.spec[0].starting_deadline_seconds == 60,
      job.spec[0].successful_jobs_history_limit == 3,
      job.spec[0].failed_jobs_history_limit == 3,
    ])])
    error_message = "one at a time, none made up for, six remembered"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for spec in job.spec[0].job_template[0].spec : alltrue([
      spec.backoff_limit == 0,
      spec.active_deadline_seconds == 300,
      spec.ttl_seconds_after_finished == null,
      spec.template[0].spec[0].restart_policy == "Never",
      spec.template[0].spec[0].termination_grace_period_seconds == 150,
    ])])])
    error_message = "no retry, a deadline, time for a POST and its record; only the history limits remove a Job"
  }
}

run "restricted_pod_security_in_full" {
  command = plan

  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.automount_service_account_token == false,
      pod.enable_service_links == false,
      pod.security_context[0].run_as_non_root == true,
      pod.security_context[0].run_as_user == "65532",
      pod.security_context[0].run_as_group == "65532",
      pod.security_context[0].seccomp_profile[0].type == "RuntimeDefault",
      pod.container[0].security_context[0].allow_privilege_escalation == false,
      pod.container[0].security_context[0].read_only_root_filesystem == true,
      pod.container[0].security_context[0].capabilities[0].drop == tolist(["ALL"]),
    ])])])
    error_message = "every pod must pass `restricted`, with a read-only root and without a token"
  }
}

run "the_containers" {
  command = plan

  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => join(" ", job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].command) } == { dispatcher = "beads-dispatcher", reaper = "beads-reaper" }
    error_message = "each its own command"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for container in job.spec[0].job_template[0].spec[0].template[0].spec[0].container : alltrue([
      container.image == "registry.example.org/beads-dispatch:0.1.0",
      container.image_pull_policy == "IfNotPresent",
      container.termination_message_policy == "FallbackToLogsOnError",
    ])])])
    error_message = "the image that was given; a failure's last line is the termination message"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for resources in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].resources :
      resources.requests == tomap({ cpu = "50m", memory = "128Mi" }) && resources.limits == tomap({ memory = "256Mi" })
    ])])
    error_message = "50m and 128Mi asked for, 256Mi at most, no limit on CPU"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      { for mount in pod.container[0].volume_mount : mount.mount_path => mount.read_only == true } == { "/etc/beads-metadata" = true, "/tmp" = false },
      { for mount in pod.container[0].volume_mount : mount.mount_path => mount.name } == { "/etc/beads-metadata" = "metadata", "/tmp" = "tmp" },
      [for volume in pod.volume : volume.config_map[0].name if volume.name == "metadata"] == ["beads-metadata"],
      [for volume in pod.volume : "${volume.empty_dir[0].medium} ${volume.empty_dir[0].size_limit}" if volume.name == "tmp"] == ["Memory 32Mi"],
      length(pod.image_pull_secrets) == 0,
      length(pod.toleration) == 0,
    ])])])
    error_message = "metadata.json read-only, and /tmp in memory with a bound"
  }
}

run "the_environment" {
  command = plan

  assert {
    condition = { for env in kubernetes_cron_job_v1.this["dispatcher"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } == {
      AGENT_SERVICE_URL              = "http://claude-agent-service.claude-agent.svc.cluster.local:8080"
      BEADBOARD_URL                  = "http://beadboard.beads-server.svc.cluster.local"
      BEADS_ACTOR                    = "beads-dispatcher"
      BEADS_ASSIGNEE                 = "agent"
      BEADS_DISPATCH_PER_TICK        = "1"
      BEADS_REAPER_THRESHOLD_MINUTES = "30"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "text"
    }
    error_message = "the dispatcher's variables, and no others"
  }
  assert {
    condition = { for env in kubernetes_cron_job_v1.this["reaper"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } == {
      AGENT_SERVICE_URL              = "http://claude-agent-service.claude-agent.svc.cluster.local:8080"
      BEADS_ACTOR                    = "beads-reaper"
      BEADS_ASSIGNEE                 = "agent"
      BEADS_REAPER_THRESHOLD_MINUTES = "30"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "text"
    }
    error_message = "the reaper's variables, and no others"
  }
}

run "the_outputs" {
  command = plan

  assert {
    condition = alltrue([
      output.namespace == "beads-server",
      output.metadata_config_map_name == "beads-metadata",
      output.cron_jobs == { dispatcher = "beads-dispatcher", reaper = "beads-reaper" },
      output.watcher == null,
      output.metrics_url == null,
    ])
    error_message = "the outputs name what was made"
  }
}

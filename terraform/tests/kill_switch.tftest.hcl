# That the switch changes nothing else is shown on whole plans in deploy/tests/test_manifests.py.
mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "on" {
  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.spec[0].suspend } == { dispatcher = false, reaper = false }
    error_message = "on: neither CronJob is suspended"
  }
}

run "off" {
  variables {
    beads_dispatcher_enabled = false
  }

  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.spec[0].suspend } == { dispatcher = true, reaper = true }
    error_message = "off: both CronJobs are suspended"
  }
  assert {
    condition     = output.cron_jobs == run.on.cron_jobs && output.metadata_config_map_name == run.on.metadata_config_map_name
    error_message = "off: they are still there"
  }
}

run "on_again" {
  assert {
    condition     = { for key, job in kubernetes_cron_job_v1.this : key => job.spec[0].suspend } == { dispatcher = false, reaper = false }
    error_message = "and it brings them back"
  }
}

run "watch_on" {
  variables {
    mode = "watch"
  }

  assert {
    condition     = [for watcher in kubernetes_deployment_v1.watcher : watcher.spec[0].replicas] == ["1"]
    error_message = "on: one watcher"
  }
}

run "watch_off" {
  variables {
    mode                     = "watch"
    beads_dispatcher_enabled = false
  }

  assert {
    condition     = [for watcher in kubernetes_deployment_v1.watcher : watcher.spec[0].replicas] == ["0"]
    error_message = "off: no watcher, but its Deployment stays"
  }
  assert {
    condition     = length(kubernetes_service_v1.watcher) == 1
    error_message = "off: and so does its Service"
  }
}

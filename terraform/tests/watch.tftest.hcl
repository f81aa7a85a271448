mock_provider "kubernetes" {}

variables {
  mode       = "watch"
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "the_objects" {
  command = plan

  assert {
    condition     = length(kubernetes_cron_job_v1.this) == 0
    error_message = "no CronJobs"
  }
  assert {
    condition     = [for watcher in kubernetes_deployment_v1.watcher : "${watcher.metadata[0].namespace}/${watcher.metadata[0].name}"] == ["beads-server/beads-watcher"]
    error_message = "one Deployment"
  }
  assert {
    condition     = kubernetes_config_map_v1.beads_metadata.metadata[0].name == "beads-metadata"
    error_message = "and the ConfigMap"
  }
  assert {
    condition = alltrue([
      output.namespace == "beads-server",
      length(output.cron_jobs) == 0,
      output.watcher == "beads-watcher",
      output.metrics_url == "http://beads-watcher.beads-server.svc:8080/metrics",
    ])
    error_message = "the outputs name what was made"
  }
}

run "the_deployment" {
  command = plan

  assert {
    condition = alltrue([for spec in kubernetes_deployment_v1.watcher[0].spec : alltrue([
      spec.replicas == "1",
      spec.strategy[0].type == "Recreate",
      spec.template[0].spec[0].restart_policy == "Always",
      spec.template[0].spec[0].termination_grace_period_seconds == 150,
      spec.template[0].metadata[0].annotations["beads-dispatch/metadata-sha256"] == sha256(kubernetes_config_map_v1.beads_metadata.data["metadata.json"]),
      alltrue([for name, value in spec.selector[0].match_labels : spec.template[0].metadata[0].labels[name] == value]),
    ])])
    error_message = "one watcher, that ends before the next starts, and starts anew when metadata.json changes"
  }
  assert {
    condition     = kubernetes_deployment_v1.watcher[0].wait_for_rollout == false
    error_message = "an apply does not wait for Dolt"
  }
}

run "the_container" {
  command = plan

  assert {
    condition = alltrue([for container in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].container : alltrue([
      container.command == tolist(["beads-dispatch", "watch", "--listen", "[::]:8080"]),
      [for port in container.port : "${port.name} ${port.container_port}"] == ["metrics 8080"],
      [for probe in container.liveness_probe : "${probe.http_get[0].path} ${probe.http_get[0].port}"] == ["/healthz metrics"],
      [for probe in container.readiness_probe : "${probe.http_get[0].path} ${probe.http_get[0].port}"] == ["/readyz metrics"],
      container.termination_message_policy == "FallbackToLogsOnError",
    ])])
    error_message = "it serves, and is asked, on one port"
  }
  assert {
    condition = { for env in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } == {
      AGENT_SERVICE_URL              = "http://claude-agent-service.claude-agent.svc.cluster.local:8080"
      BEADBOARD_URL                  = "http://beadboard.beads-server.svc.cluster.local"
      BEADS_ASSIGNEE                 = "agent"
      BEADS_DISPATCH_PER_TICK        = "1"
      BEADS_REAPER_THRESHOLD_MINUTES = "30"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "text"
    }
    error_message = "what both jobs need, and no BEADS_ACTOR: each job is its own"
  }
}

run "restricted_pod_security_in_full" {
  command = plan

  assert {
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      pod.automount_service_account_token == false,
      pod.enable_service_links == false,
      pod.security_context[0].run_as_non_root == true,
      pod.security_context[0].run_as_user == "65532",
      pod.security_context[0].run_as_group == "65532",
      pod.security_context[0].seccomp_profile[0].type == "RuntimeDefault",
      pod.container[0].security_context[0].allow_privilege_escalation == false,
      pod.container[0].security_context[0].read_only_root_filesystem == true,
      pod.container[0].security_context[0].capabilities[0].drop == tolist(["ALL"]),
    ])])
    error_message = "the pod must pass `restricted`, with a read-only root and without a token"
  }
  assert {
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      { for mount in pod.container[0].volume_mount : mount.mount_path => mount.read_only == true } == { "/etc/beads-metadata" = true, "/tmp" = false },
      [for volume in pod.volume : "${volume.empty_dir[0].medium} ${volume.empty_dir[0].size_limit}" if volume.name == "tmp"] == ["Memory 32Mi"],
    ])])
    error_message = "metadata.json read-only, and /tmp in memory with a bound"
  }
}

run "the_service" {
  command = plan

  assert {
    condition = alltrue([for spec in kubernetes_service_v1.watcher[0].spec : alltrue([
      spec.selector == kubernetes_deployment_v1.watcher[0].spec[0].selector[0].match_labels,
      [for port in spec.port : "${port.name} ${port.port} ${port.target_port}"] == ["metrics 8080 metrics"],
      spec.publish_not_ready_addresses == true,
      spec.ip_family_policy == "PreferDualStack",
    ])])
    error_message = "the metrics are there, and all the more while Dolt is not"
  }
  assert {
    condition     = kubernetes_service_v1.watcher[0].metadata[0].annotations == tomap({ "prometheus.io/scrape" = "true", "prometheus.io/port" = "8080" })
    error_message = "Prometheus finds it by annotation"
  }
}

run "names_and_labels" {
  command = plan

  variables {
    namespace                = "beads-two"
    watcher_name             = "night-watcher"
    metadata_config_map_name = "night-metadata"
    labels                   = { team = "beads" }
  }

  assert {
    condition = alltrue([for metadata in [kubernetes_deployment_v1.watcher[0].metadata[0], kubernetes_service_v1.watcher[0].metadata[0]] : alltrue([
      metadata.namespace == "beads-two",
      metadata.name == "night-watcher",
      metadata.labels["team"] == "beads",
    ])])
    error_message = "Deployment and Service by the name given"
  }
  assert {
    condition     = kubernetes_deployment_v1.watcher[0].spec[0].template[0].metadata[0].labels == tomap({ team = "beads", "app.kubernetes.io/name" = "beads-dispatch", "app.kubernetes.io/instance" = "night-watcher" })
    error_message = "the pod bears both kinds of labels"
  }
  assert {
    condition     = kubernetes_deployment_v1.watcher[0].spec[0].selector[0].match_labels == tomap({ "app.kubernetes.io/name" = "beads-dispatch", "app.kubernetes.io/instance" = "night-watcher" })
    error_message = "labels of the user are not in the selector, that can never change"
  }
  assert {
    condition     = one([for volume in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].volume : volume.config_map[0].name if volume.name == "metadata"]) == "night-metadata"
    error_message = "and mounts the ConfigMap given"
  }
  assert {
    condition     = output.metrics_url == "http://night-watcher.beads-two.svc:8080/metrics"
    error_message = "the URL follows"
  }
}

run "the_environment" {
  command = plan

  variables {
    assignee                 = "night agent"
    beadboard_url            = "https://board.example.org"
    agent_service_url        = null
    beads_per_tick           = 3
    reaper_threshold_minutes = 45
    log_format               = "json"
    extra_env                = { BEADS_DOLT_SERVER_TLS = "true" }
    dolt_password_secret     = { name = "dolt", key = "beads-password" }
  }

  assert {
    condition = { for env in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value if env.name != "BEADS_DOLT_PASSWORD" } == {
      BEADBOARD_URL                  = "https://board.example.org"
      BEADS_ASSIGNEE                 = "night agent"
      BEADS_DISPATCH_PER_TICK        = "3"
      BEADS_DOLT_SERVER_TLS          = "true"
      BEADS_REAPER_THRESHOLD_MINUTES = "45"
      HOME                           = "/tmp"
      LOG_FORMAT                     = "json"
    }
    error_message = "the watcher is told"
  }
  assert {
    condition = [
      for env in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].container[0].env : "${env.value_from[0].secret_key_ref[0].name}/${env.value_from[0].secret_key_ref[0].key}"
      if env.name == "BEADS_DOLT_PASSWORD" && env.value == null
    ] == ["dolt/beads-password"]
    error_message = "the password by reference"
  }
}

run "the_token_is_a_reference" {
  command = plan

  variables {
    agent_service_token_secret = { name = "beadboard-agent-service", key = "api_bearer_token" }
  }

  assert {
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      [for env in pod.container[0].env : env.value if env.name == "API_BEARER_TOKEN_FILE"] == ["/etc/agent-service/token"],
      [for env in pod.container[0].env : env.name if env.value == null] == [],
      [for mount in pod.container[0].volume_mount : "${mount.mount_path} ${mount.read_only}" if mount.name == "token"] == ["/etc/agent-service true"],
      [for one in pod.volume : "${one.secret[0].secret_name} ${one.secret[0].items[0].key} ${one.secret[0].items[0].path}" if one.name == "token"] == ["beadboard-agent-service api_bearer_token token"],
    ])])
    error_message = "the token is mounted from the Secret, by reference"
  }
}

run "the_urls_for_messages_are_a_reference" {
  command = plan

  variables {
    notify_urls_secret = { name = "beads-notify", key = "urls" }
  }

  assert {
    condition = [
      for env in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec[0].container[0].env : "${env.name} ${env.value_from[0].secret_key_ref[0].name}/${env.value_from[0].secret_key_ref[0].key}"
      if env.value == null
    ] == ["BEADS_NOTIFY_URLS beads-notify/urls"]
    error_message = "BEADS_NOTIFY_URLS comes from the Secret, by reference, and nothing else does"
  }
}

run "the_pod" {
  command = plan

  variables {
    image               = "registry.example.org/beads-dispatch:0.2.0"
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
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      pod.container[0].image == "registry.example.org/beads-dispatch:0.2.0",
      pod.container[0].image_pull_policy == "Always",
      [for secret in pod.image_pull_secrets : secret.name] == ["registry-credentials"],
      pod.node_selector == tomap({ disk = "fast" }),
      pod.priority_class_name == "low",
      [for one in pod.toleration : join(" ", [one.key, one.operator, coalesce(one.value, "-"), coalesce(one.effect, "-"), coalesce(one.toleration_seconds, "-")])] == ["spot Exists - NoExecute 60", "team Equal beads - -"],
      pod.container[0].resources[0].requests == tomap({ cpu = "10m", memory = "64Mi" }),
      pod.container[0].resources[0].limits == tomap({ memory = "1Gi" }),
    ])])
    error_message = "image, place and resources as given"
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
    condition = alltrue([
      kubernetes_deployment_v1.watcher[0].metadata[0].annotations == tomap({ "reloader.stakater.com/auto" = "true" }),
      kubernetes_deployment_v1.watcher[0].spec[0].template[0].metadata[0].labels["sidecar.istio.io/inject"] == "false",
      kubernetes_deployment_v1.watcher[0].spec[0].template[0].metadata[0].annotations["linkerd.io/inject"] == "disabled",
      contains(keys(kubernetes_deployment_v1.watcher[0].spec[0].template[0].metadata[0].annotations), "beads-dispatch/metadata-sha256"),
    ])
    error_message = "annotations of the Deployment, labels and annotations of its pods"
  }
  assert {
    condition     = !contains(keys(kubernetes_deployment_v1.watcher[0].spec[0].selector[0].match_labels), "sidecar.istio.io/inject")
    error_message = "labels of the user are not in the selector"
  }
  assert {
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      pod.container[0].resources[0].limits == tomap({ cpu = "1", memory = "256Mi" }),
      pod.security_context[0].run_as_user == null,
      pod.security_context[0].run_as_group == null,
      pod.security_context[0].run_as_non_root == true,
    ])])
    error_message = "a CPU limit, and the user that the cluster chooses"
  }
}

mock_provider "kubernetes" {}

variables {
  image                  = "registry.example.org/beads-dispatch:0.1.0"
  project_id             = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
  network_policy_enabled = true
}

run "out_to_four_in_nothing" {
  command = plan

  assert {
    condition = alltrue([for policy in kubernetes_network_policy_v1.this : alltrue([
      policy.metadata[0].name == "beads-dispatcher",
      policy.metadata[0].namespace == "beads-server",
      toset(policy.spec[0].policy_types) == toset(["Ingress", "Egress"]),
      length(policy.spec[0].ingress) == 0,
    ])])
    error_message = "nothing comes in"
  }
  assert {
    condition = toset([for rule in kubernetes_network_policy_v1.this[0].spec[0].egress :
      "${rule.to[0].namespace_selector[0].match_labels["kubernetes.io/metadata.name"]} ${join(" ", [for port in rule.ports : "${port.port}/${port.protocol}"])}"
    ]) == toset(["beads-server 3306/TCP", "beads-server 3000/TCP", "claude-agent 8080/TCP", "kube-system 53/UDP 53/TCP"])
    error_message = "out to Dolt, BeadBoard, the agent service and DNS only"
  }
  assert {
    condition = alltrue([for pods in kubernetes_network_policy_v1.this[0].spec[0].pod_selector : alltrue([
      pods.match_labels == tomap({ "app.kubernetes.io/name" = "beads-dispatch" }),
      pods.match_expressions[0].key == "app.kubernetes.io/instance",
      pods.match_expressions[0].operator == "In",
      pods.match_expressions[0].values == toset(["beads-dispatcher", "beads-reaper"]),
    ])])
    error_message = "for both jobs' pods, and no others"
  }
}

run "peers" {
  command = plan

  variables {
    dispatcher_name = "night-dispatcher"
    network_policy_peers = {
      dolt      = { cidr = "10.0.0.5/32", port = 3307 }
      beadboard = { namespace = "boards", pod_labels = { app = "beadboard" }, port = 3001 }
    }
  }

  assert {
    condition     = kubernetes_network_policy_v1.this[0].metadata[0].name == "night-dispatcher"
    error_message = "named as the dispatcher"
  }
  assert {
    condition = toset([for rule in kubernetes_network_policy_v1.this[0].spec[0].egress :
      "${one(rule.to[0].ip_block[*].cidr)} ${rule.ports[0].port}" if length(rule.to[0].ip_block) > 0
    ]) == toset(["10.0.0.5/32 3307"])
    error_message = "an address in place of Dolt's namespace"
  }
  assert {
    condition = toset([for rule in kubernetes_network_policy_v1.this[0].spec[0].egress :
      "${rule.to[0].namespace_selector[0].match_labels["kubernetes.io/metadata.name"]} ${jsonencode(rule.to[0].pod_selector[*].match_labels)} ${rule.ports[0].port}" if length(rule.to[0].namespace_selector) > 0
    ]) == toset(["boards [{\"app\":\"beadboard\"}] 3001", "claude-agent [] 8080", "kube-system [] 53"])
    error_message = "BeadBoard's pods elsewhere; the rest as it was"
  }
}

run "watch" {
  command = plan

  variables {
    mode = "watch"
  }

  assert {
    condition     = kubernetes_network_policy_v1.this[0].spec[0].pod_selector[0].match_expressions[0].values == toset(["beads-watcher"])
    error_message = "for the watcher's pod"
  }
  assert {
    condition     = contains([for rule in kubernetes_network_policy_v1.this[0].spec[0].egress : "${rule.to[0].namespace_selector[0].match_labels["kubernetes.io/metadata.name"]} ${rule.ports[0].port}"], "claude-agent 8080")
    error_message = "which asks the agent service too"
  }
  assert {
    condition     = length(kubernetes_network_policy_v1.this[0].spec[0].ingress) == 0
    error_message = "and nothing comes in, the metrics' port included"
  }
}

run "watch_with_prometheus" {
  command = plan

  variables {
    mode              = "watch"
    metrics_namespace = "monitoring"
  }

  assert {
    condition = [for rule in kubernetes_network_policy_v1.this[0].spec[0].ingress :
      "${rule.from[0].namespace_selector[0].match_labels["kubernetes.io/metadata.name"]} ${join(" ", [for port in rule.ports : "${port.port}/${port.protocol}"])}"
    ] == ["monitoring metrics/TCP"]
    error_message = "Prometheus alone, to the metrics alone"
  }
}

run "no_metrics_in_cronjobs" {
  command = plan

  variables {
    metrics_namespace = "monitoring"
  }

  assert {
    condition     = length(kubernetes_network_policy_v1.this[0].spec[0].ingress) == 0
    error_message = "a CronJob serves no metrics"
  }
}

run "off" {
  command = plan

  variables {
    network_policy_enabled = false
  }

  assert {
    condition     = length(kubernetes_network_policy_v1.this) == 0
    error_message = "none unless asked for"
  }
}

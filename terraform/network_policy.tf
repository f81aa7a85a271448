resource "kubernetes_network_policy_v1" "this" {
  count = var.network_policy_enabled ? 1 : 0

  metadata {
    name      = var.dispatcher_name
    namespace = local.namespace
    labels    = local.labels
  }

  spec {
    policy_types = ["Ingress", "Egress"] # what is not allowed below is refused

    pod_selector {
      match_labels = { "app.kubernetes.io/name" = "beads-dispatch" }
      match_expressions {
        key      = "app.kubernetes.io/instance"
        operator = "In"
        values   = local.instances
      }
    }

    dynamic "egress" {
      for_each = local.peers
      content {
        to {
          dynamic "namespace_selector" {
            for_each = egress.value.namespace[*]
            content {
              match_labels = { "kubernetes.io/metadata.name" = namespace_selector.value }
            }
          }
          dynamic "pod_selector" {
            for_each = length(egress.value.pod_labels) > 0 ? [egress.value.pod_labels] : []
            content {
              match_labels = pod_selector.value
            }
          }
          dynamic "ip_block" {
            for_each = egress.value.cidr[*]
            content {
              cidr = ip_block.value
            }
          }
        }
        dynamic "ports" {
          for_each = egress.key == "dns" ? ["UDP", "TCP"] : ["TCP"]
          content {
            port     = tostring(egress.value.port)
            protocol = ports.value
          }
        }
      }
    }

    dynamic "ingress" {
      for_each = var.mode == "watch" ? var.metrics_namespace[*] : []
      content {
        from {
          namespace_selector {
            match_labels = { "kubernetes.io/metadata.name" = ingress.value }
          }
        }
        ports {
          port     = local.metrics.name
          protocol = "TCP"
        }
      }
    }
  }
}

# mode = "watch": both jobs in one process. The pod is the CronJobs' pod with probes and a port;
# Terraform cannot share blocks between resources, so deploy/tests compares the two.
resource "kubernetes_deployment_v1" "watcher" {
  count = local.watchers

  # Else an apply would wait ten minutes for a Dolt that is down, and then fail.
  wait_for_rollout = false

  metadata {
    name        = var.watcher_name
    namespace   = local.namespace
    labels      = merge(local.labels, { "app.kubernetes.io/instance" = var.watcher_name })
    annotations = var.annotations
  }

  spec {
    replicas = var.beads_dispatcher_enabled ? "1" : "0"

    strategy {
      type = "Recreate" # a second one would only wait for the first to end
    }

    selector {
      match_labels = local.watcher_selector
    }

    template {
      metadata {
        labels = merge(var.pod_labels, local.labels, { "app.kubernetes.io/instance" = var.watcher_name })
        # A new metadata.json means a new pod at once. The watcher would follow the mounted file too, but the kubelet takes a minute to change it.
        annotations = merge(var.pod_annotations, { "beads-dispatch/metadata-sha256" = sha256(local.metadata) })
      }

      spec {
        restart_policy                   = "Always"
        termination_grace_period_seconds = local.grace
        service_account_name             = one(kubernetes_service_account_v1.this[*].metadata[0].name)
        automount_service_account_token  = var.runner == "jobs" # nobody else asks the API server anything
        enable_service_links             = false
        node_selector                    = var.node_selector
        priority_class_name              = var.priority_class_name

        security_context {
          run_as_non_root = true
          run_as_user     = local.user
          run_as_group    = local.user
          seccomp_profile {
            type = "RuntimeDefault"
          }
        }

        dynamic "image_pull_secrets" {
          for_each = var.image_pull_secret[*]
          content {
            name = image_pull_secrets.value
          }
        }

        dynamic "toleration" {
          for_each = var.tolerations
          content {
            key                = toleration.value.key
            operator           = toleration.value.operator
            value              = toleration.value.value
            effect             = toleration.value.effect
            toleration_seconds = toleration.value.toleration_seconds
          }
        }

        container {
          name                       = "watcher"
          image                      = var.image
          image_pull_policy          = var.image_pull_policy
          command                    = ["beads-dispatch", "watch", "--listen", "[::]:${local.metrics.port}"] # IPv4 too
          termination_message_policy = "FallbackToLogsOnError"

          port {
            name           = local.metrics.name
            container_port = local.metrics.port
            protocol       = "TCP"
          }

          # The loop itself knows how long a step may take; three misses on top.
          liveness_probe {
            http_get {
              path = "/healthz"
              port = local.metrics.name
            }
            period_seconds    = 30
            timeout_seconds   = 5
            failure_threshold = 3
          }

          readiness_probe {
            http_get {
              path = "/readyz"
              port = local.metrics.name
            }
            period_seconds    = 10
            timeout_seconds   = 5
            failure_threshold = 3
          }

          dynamic "env" {
            for_each = local.watcher_env
            content {
              name  = env.key
              value = env.value
            }
          }

          dynamic "env" {
            for_each = local.secret_env
            content {
              name = env.key
              value_from {
                secret_key_ref {
                  name = env.value.name
                  key  = env.value.key
                }
              }
            }
          }

          resources {
            requests = { cpu = var.cpu_request, memory = var.memory_request }
            limits   = merge({ memory = var.memory_limit }, { for limit in var.cpu_limit[*] : "cpu" => limit })
          }

          security_context {
            allow_privilege_escalation = false
            read_only_root_filesystem  = true
            capabilities {
              drop = ["ALL"]
            }
          }

          volume_mount {
            name       = "metadata"
            mount_path = local.mount_paths.metadata
            read_only  = true
          }

          volume_mount {
            name       = "tmp"
            mount_path = local.mount_paths.tmp
          }

          dynamic "volume_mount" {
            for_each = var.agent_service_token_secret[*]
            content {
              name       = "token"
              mount_path = local.mount_paths.token
              read_only  = true
            }
          }
        }

        volume {
          name = "metadata"
          config_map {
            name = kubernetes_config_map_v1.beads_metadata.metadata[0].name
          }
        }

        volume {
          name = "tmp"
          empty_dir {
            medium     = "Memory"
            size_limit = local.tmp_size
          }
        }

        dynamic "volume" {
          for_each = var.agent_service_token_secret[*]
          content {
            name = "token"
            secret {
              secret_name = volume.value.name
              items {
                key  = volume.value.key
                path = "token"
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    # Kyverno writes it at admission.
    ignore_changes = [spec[0].template[0].spec[0].dns_config]
  }
}

resource "kubernetes_service_v1" "watcher" {
  count = local.watchers

  metadata {
    name      = var.watcher_name
    namespace = local.namespace
    labels    = merge(local.labels, { "app.kubernetes.io/instance" = var.watcher_name })
    # For a Prometheus that finds its targets by annotation.
    annotations = {
      "prometheus.io/scrape" = "true"
      "prometheus.io/port"   = tostring(local.metrics.port)
    }
  }

  spec {
    selector = local.watcher_selector
    # Both families where the cluster has both.
    ip_family_policy = "PreferDualStack"
    # A watcher that cannot reach Dolt is not ready, and its metrics are wanted all the more.
    publish_not_ready_addresses = true

    port {
      name        = local.metrics.name
      port        = local.metrics.port
      target_port = local.metrics.name
      protocol    = "TCP"
    }
  }
}

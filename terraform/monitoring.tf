# What the Prometheus Operator needs, as objects for the caller to apply. They are no resources here: `kubernetes_manifest`
# asks the cluster for their kinds at every plan, so that a cluster without the operator could not even plan the module.
locals {
  monitoring_metadata = {
    name      = var.mode == "watch" ? var.watcher_name : var.dispatcher_name
    namespace = var.namespace
    labels    = merge(var.monitoring_labels, local.labels)
  }
  alerts = yamldecode(templatefile("${path.module}/alerts/${var.mode}.yaml", {
    watched    = "namespace=${jsonencode(var.namespace)},assignee=${jsonencode(var.assignee)}"
    within     = "namespace=${jsonencode(var.namespace)},"
    cronjobs   = "namespace=${jsonencode(var.namespace)},cronjob=~${jsonencode("${var.dispatcher_name}|${var.reaper_name}")}"
    agents     = "namespace=${jsonencode(var.agent_namespace)}"
    dispatcher = var.dispatcher_name
    reaper     = var.reaper_name
    watcher    = var.watcher_name
    runbook    = var.runbook_url
  }))

  monitoring = [
    {
      apiVersion = "monitoring.coreos.com/v1"
      kind       = "PrometheusRule"
      metadata   = local.monitoring_metadata
      spec       = local.alerts
    },
    {
      apiVersion = "monitoring.coreos.com/v1"
      kind       = "ServiceMonitor"
      metadata   = local.monitoring_metadata
      spec = {
        selector  = { matchLabels = local.watcher_selector }
        endpoints = [{ port = local.metrics.name }]
      }
    },
    {
      apiVersion = "monitoring.coreos.com/v1"
      kind       = "PodMonitor"
      metadata   = local.monitoring_metadata
      spec = {
        selector            = { matchLabels = local.watcher_selector }
        podMetricsEndpoints = [{ port = local.metrics.name }]
      }
    },
  ]
}

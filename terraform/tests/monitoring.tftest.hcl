mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
}

run "cronjobs_have_rules_only" {
  command = plan

  assert {
    condition     = keys(output.monitoring) == ["PrometheusRule"]
    error_message = "Jobs are too short to be scraped"
  }
  assert {
    condition     = jsonencode(output.monitoring.PrometheusRule.metadata) == jsonencode({ name = "beads-dispatcher", namespace = "beads-server", labels = { "app.kubernetes.io/name" = "beads-dispatch" } })
    error_message = "named as the dispatcher"
  }
  assert {
    condition     = [for rule in output.monitoring.PrometheusRule.spec.groups[0].rules : rule.alert] == ["BeadsNoSuccess", "BeadsJobFailed", "BeadsAgentNotStarted", "BeadsSwitchedOff"]
    error_message = "the rules of mode cronjobs"
  }
  assert {
    condition     = alltrue([for rule in output.monitoring.PrometheusRule.spec.groups[0].rules : strcontains(rule.expr, rule.alert == "BeadsAgentNotStarted" ? "namespace=\"beads-agents\"" : "namespace=\"beads-server\"")])
    error_message = "for this namespace only"
  }
}

run "the_watcher_has_monitors_too" {
  command = plan

  variables {
    mode              = "watch"
    namespace         = "beads-two"
    watcher_name      = "night-watcher"
    assignee          = "night agent"
    labels            = { team = "beads" }
    monitoring_labels = { release = "prometheus" }
    runbook_url       = "https://wiki.example.org/beads"
  }

  assert {
    condition     = keys(output.monitoring) == ["PodMonitor", "PrometheusRule", "ServiceMonitor"]
    error_message = "one of the two monitors is needed"
  }
  assert {
    condition = alltrue([for kind, one in output.monitoring : alltrue([
      one.kind == kind,
      one.apiVersion == "monitoring.coreos.com/v1",
      jsonencode(one.metadata) == jsonencode({ name = "night-watcher", namespace = "beads-two", labels = { team = "beads", release = "prometheus", "app.kubernetes.io/name" = "beads-dispatch" } }),
    ])])
    error_message = "with the operator's labels and ours"
  }
  assert {
    condition = alltrue([
      output.monitoring.ServiceMonitor.spec.selector.matchLabels == { for name, value in kubernetes_service_v1.watcher[0].metadata[0].labels : name => value if name != "team" },
      output.monitoring.ServiceMonitor.spec.endpoints == [{ port = "metrics" }],
      output.monitoring.PodMonitor.spec.podMetricsEndpoints == [{ port = "metrics" }],
    ])
    error_message = "the monitors find the watcher's port"
  }
  assert {
    condition     = alltrue([for rule in output.monitoring.PrometheusRule.spec.groups[0].rules : rule.annotations.runbook_url == "https://wiki.example.org/beads#${lower(rule.alert)}"])
    error_message = "each alert links to its section"
  }
  assert {
    condition     = strcontains(output.monitoring.PrometheusRule.spec.groups[0].rules[0].expr, "namespace=\"beads-two\",assignee=\"night agent\"")
    error_message = "for this watcher only"
  }
}

terraform {
  required_version = ">= 1.9"

  required_providers {
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.38.0, < 4.0.0"
    }
  }
}

# Which cluster: the environment says it, KUBE_CONFIG_PATH=~/.kube/config.
provider "kubernetes" {}

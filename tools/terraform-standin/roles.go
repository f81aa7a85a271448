package main

// Roles and their bindings, which the stand-in lacks. roles.json is their schema in hashicorp/kubernetes 2.38.0, as published
// in the CDKTF bindings.
func init() {
	kinds["kubernetes_role_v1"] = kind{"rbac.authorization.k8s.io/v1", "Role", "roles", false}
	kinds["kubernetes_role_binding_v1"] = kind{"rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", false}
	apiName["rule"], apiName["subject"] = "rules", "subjects"
}

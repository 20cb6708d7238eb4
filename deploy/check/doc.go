// Package check holds what deploys Tickconnect against the types of the programs that
// read it: Kubernetes, KEDA, the Prometheus operator, Docker Compose. It is a module of
// its own, so that these types stay out of the product's go.mod.
package check

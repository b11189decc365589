{{/*
Refuses values that a cluster would refuse, or that contradict each other, and says what to write instead. The schema looks at
each value alone, and its messages say nothing but a pattern.
*/}}
{{- define "keyside.checked" -}}
{{- $values := .Values -}}
{{- include "keyside.checkedNames" (dict "what" "secrets[].name" "of" $values.secrets) -}}
{{- include "keyside.checkedNames" (dict "what" "volumes[].name" "of" $values.volumes) -}}
{{- include "keyside.checkedNames" (dict "what" "containers[].name" "of" $values.containers) -}}
{{- include "keyside.checkedEnv" (dict "what" "env" "env" $values.env) -}}
{{- include "keyside.checkedContainers" . -}}
{{- include "keyside.checkedAccount" . -}}
{{- include "keyside.checkedKeys" (dict "what" "podLabels" "of" $values.podLabels) -}}
{{- include "keyside.checkedKeys" (dict "what" "nodeSelector" "of" $values.nodeSelector) -}}
{{- include "keyside.checkedKeys" (dict "what" "metrics.podMonitor.labels" "of" $values.metrics.podMonitor.labels) -}}
{{- include "keyside.checkedLabels" (dict "what" "podLabels" "of" $values.podLabels) -}}
{{- include "keyside.checkedLabels" (dict "what" "nodeSelector" "of" $values.nodeSelector) -}}
{{- include "keyside.checkedLabels" (dict "what" "metrics.podMonitor.labels" "of" $values.metrics.podMonitor.labels) -}}
{{- include "keyside.checkedKeys" (dict "what" "podAnnotations" "of" $values.podAnnotations) -}}
{{- include "keyside.checkedKeys" (dict "what" "service.annotations" "of" $values.service.annotations) -}}
{{- include "keyside.checkedKeys" (dict "what" "serviceAccount.annotations" "of" $values.serviceAccount.annotations) -}}
{{- with $values.spool }}
{{- if and .enabled (ge (include "keyside.kibibytes" .maxSize | int64) (include "keyside.kibibytes" .size | int64)) }}
{{- fail (printf "spool.maxSize (%s) fills the volume of spool.size (%s): leave room for the file to grow" .maxSize .size) }}
{{- end }}
{{- include "keyside.checkedName" (dict "what" "spool.storageClassName" "name" .storageClassName) -}}
{{- end -}}
{{- end -}}

{{/* Names of a list, each a label of DNS, and each there once. */}}
{{- define "keyside.checkedNames" -}}
{{- $what := .what -}}
{{- $names := list -}}
{{- range .of }}
{{- if not (and (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .name) (le (len .name) 63)) }}
{{- fail (printf "%s is %q: write at most 63 of the lower-case letters, digits and \"-\", and begin and end with a letter or a digit" $what .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end -}}
{{- include "keyside.checkedOnce" (dict "what" $what "of" $names) -}}
{{- end -}}

{{/* Texts of a list, each there once. */}}
{{- define "keyside.checkedOnce" -}}
{{- $what := .what -}}
{{- $seen := list -}}
{{- range .of }}
{{- if has . $seen }}
{{- fail (printf "%s has %v twice: remove or rename the second" $what .) }}
{{- end }}
{{- $seen = append $seen . }}
{{- end -}}
{{- end -}}

{{/* The name of an object: labels of DNS with dots between. Empty for the default. */}}
{{- define "keyside.checkedName" -}}
{{- if .name }}
{{- if not (and (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" .name) (le (len .name) 253)) }}
{{- fail (printf "%s is %q: write at most 253 of the lower-case letters, digits, \"-\" and \".\", and begin and end each part between dots with a letter or a digit" .what .name) }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Variables of the environment: names that every version of Kubernetes takes, each there once. */}}
{{- define "keyside.checkedEnv" -}}
{{- $what := .what -}}
{{- $names := list -}}
{{- range .env }}
{{- if not (and (regexMatch "^[-._a-zA-Z][-._a-zA-Z0-9]*$" .name) (not (regexMatch "^(\\.$|\\.\\.)" .name))) }}
{{- fail (printf "%s has the name %q: write letters, digits, \"_\", \"-\" and \".\", with no digit and no \"..\" at the beginning" $what .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end -}}
{{- include "keyside.checkedOnce" (dict "what" $what "of" $names) -}}
{{- end -}}

{{/* What the application's containers name: variables, ports and volumes. The containers of a pod share one network, the sidecar's included. */}}
{{- define "keyside.checkedContainers" -}}
{{- $volumes := list -}}
{{- range .Values.volumes }}
{{- $volumes = append $volumes .name }}
{{- end -}}
{{- $ports := list -}}
{{- $ofSidecar := list 8081 9901 -}}
{{- /* [outbound] and [admin] stand in `config`, and may listen elsewhere. */ -}}
{{- if not (contains "listen" .Values.config) -}}
{{- $ofSidecar = list 8080 8081 9900 9901 -}}
{{- end -}}
{{- range $container := .Values.containers }}
{{- include "keyside.checkedEnv" (dict "what" (printf "env of the container %s" .name) "env" .env) -}}
{{- $portNames := list "webhooks" "metrics" -}}
{{- range .ports }}
{{- $number := .containerPort | int }}
{{- $protocol := .protocol | default "TCP" }}
{{- if and (eq $protocol "TCP") (has $number $ofSidecar) }}
{{- fail (printf "the container %s listens on port %d, which is a port of the sidecar in the same network: choose another" $container.name $number) }}
{{- end }}
{{- $port := printf "%s %d" $protocol $number }}
{{- if has $port $ports }}
{{- fail (printf "containers[].ports has %s twice: the containers of a pod share one network, so choose another port" $port) }}
{{- end }}
{{- $ports = append $ports $port }}
{{- if .name }}
{{- if not (and (regexMatch "^[a-z0-9]+(-[a-z0-9]+)*$" .name) (regexMatch "[a-z]" .name) (le (len .name) 15)) }}
{{- fail (printf "a port of the container %s has the name %q: write at most 15 of the lower-case letters, digits and \"-\", at least one letter, and no \"-\" at an end or beside another" $container.name .name) }}
{{- end }}
{{- $portNames = append $portNames .name }}
{{- end }}
{{- end }}
{{- include "keyside.checkedOnce" (dict "what" (printf "ports of the container %s, with the sidecar's webhooks and metrics," .name) "of" $portNames) -}}
{{- $paths := list -}}
{{- range .volumeMounts }}
{{- if hasPrefix "keyside-" .name }}
{{- fail (printf "the container %s mounts %s, which is for the sidecar alone: the application holds no credential" $container.name .name) }}
{{- end }}
{{- if not (has .name $volumes) }}
{{- fail (printf "the container %s mounts %s, which volumes does not have: add it to volumes" $container.name .name) }}
{{- end }}
{{- $paths = append $paths .mountPath }}
{{- end }}
{{- include "keyside.checkedOnce" (dict "what" (printf "volumeMounts[].mountPath of the container %s" .name) "of" $paths) -}}
{{- end -}}
{{- end -}}

{{- define "keyside.checkedAccount" -}}
{{- include "keyside.checkedName" (dict "what" "serviceAccount.name" "name" .Values.serviceAccount.name) -}}
{{- if and .Values.serviceAccount.create (eq (include "keyside.serviceAccount" .) "default") }}
{{- fail "serviceAccount.create would make the account default, which each namespace has already: choose another serviceAccount.name, or leave it empty" }}
{{- end }}
{{- if and .Values.secretAccess (eq (include "keyside.serviceAccount" .) "default") }}
{{- fail "secretAccess would give its Secrets to each pod of the namespace: give the pod an account of its own, by serviceAccount.create or serviceAccount.name" }}
{{- end }}
{{- end -}}

{{/* Keys of labels and annotations: a name, or a domain, a slash and a name. */}}
{{- define "keyside.checkedKeys" -}}
{{- $what := .what -}}
{{- range $key, $_ := .of }}
{{- $name := splitList "/" $key | last -}}
{{- $domain := trimSuffix (printf "/%s" $name) $key -}}
{{- if not (and (regexMatch "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$" $key) (le (len $name) 63) (le (len $domain) 253)) }}
{{- fail (printf "%s has the key %q: write at most 63 letters, digits, \"-\", \"_\" and \".\", with a letter or a digit at both ends, and before it at most a domain and \"/\"" $what $key) }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Values of labels. */}}
{{- define "keyside.checkedLabels" -}}
{{- $what := .what -}}
{{- range $key, $value := .of }}
{{- if not (and (regexMatch "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$" $value) (le (len $value) 63)) }}
{{- fail (printf "%s.%s is %q: write at most 63 letters, digits, \"-\", \"_\" and \".\", with a letter or a digit at both ends; longer texts belong in annotations" $what $key $value) }}
{{- end }}
{{- end -}}
{{- end -}}

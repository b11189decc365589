{{/* The name of everything that the chart makes. A release may have dots in its name, a pod's host name may not. */}}
{{- define "keyside.name" -}}
{{- .Release.Name | replace "." "-" | trunc 52 | trimAll "-" -}}
{{- end -}}

{{/* The name of the Service, which begins with a letter even if the release begins with a digit. */}}
{{- define "keyside.service" -}}
{{- printf "%s%s-webhooks" (ternary "k" "" (regexMatch "^[0-9]" .Release.Name)) (include "keyside.name" .) -}}
{{- end -}}

{{/* Without an account of the chart's own, a pod has the account that each namespace has. */}}
{{- define "keyside.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "keyside.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "keyside.selector" -}}
app.kubernetes.io/name: keyside
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "keyside.labels" -}}
{{ include "keyside.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* With a spool, the engine's cache and the events on their way need 64 MiB more than the chart's default. */}}
{{- define "keyside.resources" -}}
{{- $default := dict "requests" (dict "cpu" "10m" "memory" "16Mi") "limits" (dict "memory" "128Mi") -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if and .Values.spool.enabled (eq (toJson $resources) (toJson $default)) -}}
{{- $_ := set $resources "limits" (dict "memory" "192Mi") -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* A size such as 4Gi or 1GiB in KiB. */}}
{{- define "keyside.kibibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[KMGT]" . -}}
{{- mul $number (get (dict "K" 1 "M" 1024 "G" 1048576 "T" 1073741824) $unit | int64) -}}
{{- end -}}

{{/* The whole proxy.toml: the values' text, and the tables that the chart itself decides. */}}
{{- define "keyside.config" -}}
{{- include "keyside.checked" . -}}
{{- range $table := list "inbound" "metrics" "spool" "state" }}
{{- if regexMatch (printf "(?m)^\\s*(\\[\\s*[\"']?%[1]s[\"']?\\s*[].]|[\"']?%[1]s[\"']?\\s*[.=])" $table) $.Values.config }}
{{- fail (printf "config has [%s], which the chart writes: set it with the values of the chart" $table) }}
{{- end }}
{{- end -}}
{{ .Values.config | trimSuffix "\n" }}

# Written by the chart.
{{ toToml (dict "inbound" (merge (dict "listen" (list "[::]:8081")) (.Values.inbound | default dict))) }}
[metrics]
listen = ["[::]:9901"]
{{- with .Values.spool }}
{{- if .enabled }}

[spool]
dir = "/var/lib/keyside/spool"
max_size = {{ .maxSize | quote }}
max_age = {{ .maxAge | quote }}
keep = {{ .keep | quote }}
{{- end }}
{{- end }}
{{- if .Values.state.enabled }}

[state]
dir = "/var/lib/keyside/state"
key = "file:/run/secrets/keyside-state/key"
{{- end }}
{{ end -}}

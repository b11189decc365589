{{/* The name of everything that the chart makes. */}}
{{- define "keyside.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "keyside.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "keyside.name" .) -}}
{{- end -}}

{{- define "keyside.selector" -}}
app.kubernetes.io/name: keyside
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keyside.labels" -}}
{{ include "keyside.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The whole proxy.toml: the values' text, and the tables that the chart itself decides. */}}
{{- define "keyside.config" -}}
{{- range $table := list "inbound" "metrics" "spool" "state" }}
{{- if regexMatch (printf "(?m)^\\s*(\\[\\s*%[1]s\\s*[].]|%[1]s\\s*[.=])" $table) $.Values.config }}
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

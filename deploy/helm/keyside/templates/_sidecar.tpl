{{/* The sidecar, for `initContainers`. In a chart that lists this one as a dependency, the values are those under `keyside`. */}}
{{- define "keyside.sidecar" -}}
{{- with (.Subcharts).keyside | default . -}}
- name: keyside
  image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always # makes the container a native sidecar
  args: ["run", "--config", "/etc/keyside/proxy.toml"]
  {{- if or .Values.env .Values.spool.enabled }}
  env:
    {{- $names := list }}
    {{- range .Values.env }}
    {{- $names = append $names .name }}
    {{- end }}
    {{- if and .Values.spool.enabled (not (has "MALLOC_ARENA_MAX" $names)) }}
    # Freed memory stays with each thread that reads the store otherwise.
    - { name: MALLOC_ARENA_MAX, value: "2" }
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  ports:
    - { name: webhooks, containerPort: 8081 }
    - { name: metrics, containerPort: 9901 }
  # The application starts once Keyside listens. A missing secret does not hold it back: /readyz and `keyside status` tell
  # about that.
  startupProbe:
    httpGet: { path: /livez, port: metrics }
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet: { path: /livez, port: metrics }
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 3
  # During a drain, events go to other pods.
  readinessProbe:
    httpGet: { path: /readyz, port: metrics }
    periodSeconds: 5
    timeoutSeconds: 3
  resources:
    {{- toYaml (include "keyside.resources" . | fromYaml) | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsNonRoot: true
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: ["ALL"] }
  volumeMounts:
    - { name: keyside-config, mountPath: /etc/keyside, readOnly: true }
    {{- range .Values.secrets }}
    - { name: keyside-secret-{{ .name }}, mountPath: /run/secrets/keyside/{{ .name }}, readOnly: true }
    {{- end }}
    {{- if .Values.state.enabled }}
    - { name: keyside-state-key, mountPath: /run/secrets/keyside-state, readOnly: true }
    {{- end }}
    {{- if or .Values.state.enabled .Values.spool.enabled }}
    - { name: keyside-data, mountPath: /var/lib/keyside }
    {{- end }}
    {{- if .Values.secretAccess }}
    - { name: keyside-account, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
    {{- end }}
{{- end -}}
{{- end -}}

{{/* The volumes of the sidecar, for `volumes`. A StatefulSet has the volume `keyside-data` of its own. */}}
{{- define "keyside.volumes" -}}
{{- with (.Subcharts).keyside | default . -}}
- name: keyside-config
  configMap: { name: "{{ include "keyside.name" . }}-keyside" }
{{- range .Values.secrets }}
- name: keyside-secret-{{ .name }}
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .secret | quote }}, optional: true }
{{- end }}
{{- if .Values.state.enabled }}
- name: keyside-state-key
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .Values.state.secret | quote }}, optional: true }
{{- end }}
{{- if and .Values.state.enabled (not .Values.spool.enabled) }}
# Outlives a restart of the container, and ends with the pod.
- name: keyside-data
  emptyDir: { sizeLimit: 16Mi }
{{- end }}
{{- if .Values.secretAccess }}
- name: keyside-account
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: { path: token, expirationSeconds: 3600 }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
      - downwardAPI: { items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }] }
{{- end }}
{{- end -}}
{{- end -}}

package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

// writeKubeconfig embeds the certificates, so that the file can be copied elsewhere.
func writeKubeconfig(path, pki, who, cluster, server string) error {
	encoded := map[string]string{}
	for name, file := range map[string]string{"ca": "ca.crt", "certificate": who + ".crt", "key": who + ".key"} {
		content, err := os.ReadFile(filepath.Join(pki, file))
		if err != nil {
			return err
		}
		encoded[name] = base64.StdEncoding.EncodeToString(content)
	}
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[4]s
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[4]s
current-context: %[1]s
`, "devcluster-"+cluster, server, encoded["ca"], who, encoded["certificate"], encoded["key"])
	return os.WriteFile(path, []byte(content), 0o600)
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHashIsTheSameForTheSameSourcesElsewhere(t *testing.T) {
	files := map[string]string{"go.mod": "module a", "main.go": "package main", "sub/more.go": "package sub"}
	first, second := t.TempDir(), t.TempDir()
	write(t, first, files)
	write(t, second, files)
	write(t, second, map[string]string{"README.md": "not compiled", "main_test.go": "not compiled"})
	if a, b := hash(t, first, "go1"), hash(t, second, "go1"); a != b {
		t.Errorf("hashes differ between clones: %s and %s", a, b)
	}
}

func TestHashChangesWithEveryInput(t *testing.T) {
	base := map[string]string{"go.mod": "module a", "go.sum": "sums", "main.go": "package main"}
	folder := t.TempDir()
	write(t, folder, base)
	seen := map[string]string{hash(t, folder, "go1", "linux"): "the base"}
	check := func(what, got string) {
		t.Helper()
		if before, found := seen[got]; found {
			t.Errorf("%s has the same hash as %s", what, before)
		}
		seen[got] = what
	}
	check("another Go version", hash(t, folder, "go2", "linux"))
	check("parameters that run together", hash(t, folder, "go1l", "inux"))
	for _, name := range []string{"go.mod", "go.sum", "main.go", "new.go"} {
		write(t, folder, map[string]string{name: base[name] + " changed"})
		check("a changed "+name, hash(t, folder, "go1", "linux"))
	}
	if err := os.Rename(filepath.Join(folder, "new.go"), filepath.Join(folder, "other.go")); err != nil {
		t.Fatal(err)
	}
	check("a renamed file", hash(t, folder, "go1", "linux"))
}

func hash(t *testing.T, folder string, parameters ...string) string {
	t.Helper()
	hash, err := contentHash(folder, parameters)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestVersionsAreReadFromTheToolsModules(t *testing.T) {
	for _, tool := range tools {
		source, err := toolSource(tool.name)
		if err != nil {
			t.Fatal(err)
		}
		version, err := requiredVersion(filepath.Join(source, "go.mod"), tool.versionOf)
		if err != nil || !strings.HasPrefix(version, "v") {
			t.Errorf("%s: version %q, error %v", tool.name, version, err)
		}
		for _, flag := range tool.ldflags("v1.36.3") {
			if strings.HasSuffix(flag, "=") {
				t.Errorf("%s: empty value in %q", tool.name, flag)
			}
		}
	}
}

func TestSimulatedStagesNameTheKwokThatIsBuilt(t *testing.T) {
	source, err := toolSource("kwok")
	if err != nil {
		t.Fatal(err)
	}
	version, err := requiredVersion(filepath.Join(source, "go.mod"), "sigs.k8s.io/kwok")
	if err != nil {
		t.Fatal(err)
	}
	if want := "kwok " + strings.TrimPrefix(version, "v"); !strings.Contains(manifest("simulated-stages.yaml"), want) {
		t.Errorf("kwok is %s: compare manifests/simulated-stages.yaml with its kustomize/stage, then name that version in its first comment", version)
	}
}

func TestCacheIsOutsideTheCheckout(t *testing.T) {
	for _, c := range []struct{ own, xdg, home, want string }{
		{"/own", "/xdg", "/home/a", "/own/tools"},
		{"", "/xdg", "/home/a", "/xdg/storekeeper/tools"},
		{"", "relative", "/home/a", "/home/a/.cache/storekeeper/tools"},
		{"", "", "/home/a", "/home/a/.cache/storekeeper/tools"},
	} {
		t.Setenv("STOREKEEPER_CACHE", c.own)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		if got, err := cacheFolder(); err != nil || got != c.want {
			t.Errorf("%+v: got %q, error %v", c, got, err)
		}
	}
}

func TestASecondBuilderWaitsForTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(path, func() { t.Error("the first waits") })
	if err != nil {
		t.Fatal(err)
	}
	waiting, done := make(chan struct{}), make(chan error, 1)
	go func() {
		again, err := lockFile(path, func() { close(waiting) })
		if err == nil {
			again()
		}
		done <- err
	}()
	<-waiting
	select {
	case <-done:
		t.Fatal("the second did not wait")
	default:
	}
	unlock()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the second still waits")
	}
}

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tool is a binary that is built from a Go module of its own under tools/.
type tool struct {
	name string
	// packages are what to build, as seen from the tool's module. Each becomes a binary in the tool's
	// folder, named like the last part of its path.
	packages []string
	// versionOf is the module whose version the binary should report.
	versionOf string
	ldflags   func(version string) []string
	// tags leave out parts that no cluster here uses, or ask for some.
	tags string
	// needsC is for a tool with parts in C.
	needsC bool
	// folders of the module whose version it is are read at run time; each is copied beside the binaries.
	folders []string
	cold    string
}

var tools = []tool{
	{
		name:      "kubernetes",
		packages:  []string{"."},
		versionOf: "k8s.io/kubernetes",
		ldflags: func(version string) []string {
			numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
			return []string{
				"-X k8s.io/component-base/version.gitVersion=" + version,
				"-X k8s.io/component-base/version.gitMajor=" + numbers[0],
				"-X k8s.io/component-base/version.gitMinor=" + numbers[1],
				// The user agents, as they stand in the audit log.
				"-X k8s.io/client-go/pkg/version.gitVersion=" + version,
				"-X k8s.io/client-go/pkg/version.gitCommit=" + strings.TrimPrefix(version, "v"),
			}
		},
		cold: "about 6 minutes on 2 cores",
	},
	{
		name:      "kwok",
		packages:  []string{"sigs.k8s.io/kwok/cmd/kwok"},
		versionOf: "sigs.k8s.io/kwok",
		ldflags: func(version string) []string {
			return []string{"-X sigs.k8s.io/kwok/pkg/consts.Version=" + version}
		},
		cold: "about 1.5 minutes on 2 cores",
	},
	{
		name:      "helm",
		packages:  []string{"helm.sh/helm/v4/cmd/helm"},
		versionOf: "helm.sh/helm/v4",
		ldflags: func(version string) []string {
			return []string{"-X helm.sh/helm/v4/internal/version.version=" + version}
		},
		cold: "about 2.5 minutes on 2 cores",
	},
	{
		name: "containerd",
		packages: []string{
			"github.com/containerd/containerd/v2/cmd/containerd",
			"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			"github.com/containerd/containerd/v2/cmd/ctr",
			"./pause",
		},
		versionOf: "github.com/containerd/containerd/v2",
		ldflags: func(version string) []string {
			return []string{"-X github.com/containerd/containerd/v2/version.Version=" + strings.TrimPrefix(version, "v")}
		},
		tags: "no_btrfs,no_devmapper,no_zfs,no_tracing",
		cold: "about 50 seconds on 2 cores",
	},
	{
		name: "cni",
		packages: []string{
			"github.com/containernetworking/plugins/plugins/main/bridge",
			"github.com/containernetworking/plugins/plugins/main/loopback",
			"github.com/containernetworking/plugins/plugins/ipam/host-local",
			"github.com/containernetworking/plugins/plugins/meta/portmap",
		},
		versionOf: "github.com/containernetworking/plugins",
		ldflags: func(version string) []string {
			return []string{"-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=" + version}
		},
		cold: "about 5 seconds on 2 cores",
	},
	{
		name:      "coredns",
		packages:  []string{"."},
		versionOf: "github.com/coredns/coredns",
		// It has its version in a constant.
		ldflags: func(string) []string { return nil },
		cold:    "about 1 minute on 2 cores",
	},
	{
		name:      "gitea",
		packages:  []string{"code.gitea.io/gitea"},
		versionOf: "code.gitea.io/gitea",
		ldflags: func(version string) []string {
			return []string{"-X main.Version=" + strings.TrimPrefix(version, "v")}
		},
		// Its only database that is no server.
		tags:    "sqlite,sqlite_unlock_notify",
		needsC:  true,
		folders: []string{"options", "public", "templates"},
		cold:    "about 5 minutes on 2 cores",
	},
}

// binaries are the file names of the tool's programs.
func (t tool) binaries() []string {
	var names []string
	for _, pkg := range t.packages {
		if pkg == "." {
			// Go names it after the module, which is named like its folder.
			pkg = t.name
		}
		names = append(names, filepath.Base(pkg))
	}
	return names
}

// buildFlags keep a build from changing the checkout's go.mod and from asking git for the commit, which
// fails in a checkout that belongs to somebody else and would make the binary depend on more than its
// sources.
var buildFlags = []string{"-mod=readonly", "-buildvcs=false"}

func toolNamed(name string) (tool, error) {
	for _, tool := range tools {
		if tool.name == name {
			return tool, nil
		}
	}
	return tool{}, usageError{fmt.Sprintf("unknown tool %q; there are %s", name, strings.Join(toolNames(), ", "))}
}

func toolNames() []string {
	var names []string
	for _, tool := range tools {
		names = append(names, tool.name)
	}
	return names
}

// build is the command of that name.
func build(arguments []string) error {
	flags := newFlags("build")
	printPath := flags.String("print", "", "tool whose path to print")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	names := flags.Args()
	if *printPath != "" {
		names = append(names, *printPath)
	} else if len(names) == 0 {
		names = toolNames()
	}
	paths, err := ensureTools(names)
	if err == nil && *printPath != "" {
		fmt.Println(paths[*printPath])
	}
	return err
}

// ensureTools returns the path of each tool's first binary and builds what is missing.
//
// Two builds at a time: a single one leaves a core idle while it downloads or links, and more would
// only share the cores and add up their memory. The first lane is for the largest.
func ensureTools(names []string) (map[string]string, error) {
	lanes := [2][]tool{}
	for _, name := range names {
		tool, err := toolNamed(name)
		if err != nil {
			return nil, err
		}
		lane := 1
		if name == tools[0].name {
			lane = 0
		}
		lanes[lane] = append(lanes[lane], tool)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	var failures []error
	paths := map[string]string{}
	for _, lane := range lanes {
		group.Go(func() {
			for _, tool := range lane {
				path, err := tool.ensure()
				mu.Lock()
				if err != nil {
					failures = append(failures, err)
				}
				paths[tool.name] = path
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return paths, errors.Join(failures...)
}

// ensure returns the path of the tool's first binary and builds all of them if they are not cached.
func (t tool) ensure() (string, error) {
	source, err := toolSource(t.name)
	if err != nil {
		return "", err
	}
	environment, err := goEnvironment(source, t.env())
	if err != nil {
		return "", err
	}
	version, err := requiredVersion(filepath.Join(source, "go.mod"), t.versionOf)
	if err != nil {
		return "", err
	}
	ldflags := "-s -w " + strings.Join(t.ldflags(version), " ")
	arguments := append(append([]string{"build"}, buildFlags...), "-ldflags="+strings.TrimSpace(ldflags))
	if t.tags != "" {
		arguments = append(arguments, "-tags="+t.tags)
	}
	parameters := append(append(environment.identity(), t.packages...), arguments...)
	hash, err := contentHash(source, append(parameters, t.folders...))
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, t.name+"-"+hash)
	binary := filepath.Join(folder, t.binaries()[0])
	if isFile(binary) {
		return binary, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(folder+".lock", func() {
		progress("waiting for another devcluster that is building %s", t.name)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if isFile(binary) {
		return binary, nil
	}
	return binary, t.compile(source, cache, folder, arguments, version)
}

// compile builds beside the final folder and renames it, so that nobody ever sees half a binary.
func (t tool) compile(source, cache, folder string, arguments []string, version string) error {
	// One name, so that what an interrupted build left is replaced; the lock keeps others away.
	scratch := filepath.Join(cache, ".building-"+filepath.Base(folder))
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	progress("building %s %s (%s the first time, seconds when Go has its packages cached)", t.name, version, t.cold)
	started := time.Now()
	// With the separator at its end, a folder for one binary for each package.
	arguments = append(arguments, "-o", scratch+string(filepath.Separator))
	command := exec.Command("go", append(arguments, t.packages...)...)
	command.Dir = source
	command.Env = t.env()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	// The compiler must not go on for minutes when this program is killed. The signal is bound to the
	// thread, see startChild.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = buildAttributes()
	stop := reportEvery(30*time.Second, func(elapsed time.Duration) {
		progress("still building %s … %d s", t.name, int(elapsed.Seconds()))
	})
	err := command.Run()
	stop()
	if err != nil {
		return fmt.Errorf("building %s failed after %d s (%w):\n%s\n%s", t.name, int(time.Since(started).Seconds()), err,
			lastLines(output.String(), 30), buildAdvice(output.String()))
	}
	if err := t.copyFolders(source, scratch); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Rename(scratch, folder); err != nil {
		return err
	}
	progress("built %s in %d s", t.name, int(time.Since(started).Seconds()))
	return nil
}

// copyFolders takes what is read at run time out of the module cache, which anybody may clean. It leaves modes
// behind, which there keep even their owner from removing anything.
func (t tool) copyFolders(source, target string) error {
	if len(t.folders) == 0 {
		return nil
	}
	command := exec.Command("go", "list", "-mod=readonly", "-m", "-f={{.Dir}}", t.versionOf)
	command.Dir = source
	command.Env = t.env()
	output, err := command.Output()
	if err != nil {
		return fmt.Errorf("go list %s failed: %w", t.versionOf, err)
	}
	module := strings.TrimSpace(string(output))
	for _, name := range t.folders {
		if err := os.CopyFS(filepath.Join(target, name), os.DirFS(filepath.Join(module, name))); err != nil {
			return fmt.Errorf("copying %s of %s failed: %w", name, t.name, err)
		}
	}
	return nil
}

func buildAdvice(output string) string {
	switch {
	case strings.Contains(output, "signal: killed"):
		return "The compiler was killed, probably for want of memory: the build needs about 3 GB. Set GOFLAGS=-p=1 to use less."
	case strings.Contains(output, "no space left"):
		return "The disk is full: the build needs about 5 GB for Go's module and build caches."
	case strings.Contains(output, "dial tcp"), strings.Contains(output, "proxyconnect"), strings.Contains(output, "i/o timeout"), strings.Contains(output, "module lookup disabled"):
		return "Go could not download a module: check the network and GOPROXY, then run the same command again; what was downloaded is kept."
	case strings.Contains(output, "C compiler"):
		return "Install a C compiler (Debian: build-essential): a part of this tool is written in C."
	case strings.Contains(output, "go.mod requires go"), strings.Contains(output, "toolchain not available"):
		return "Install the Go version that the message names; devcluster never downloads one by itself."
	default:
		return "Run the same command again after fixing this; packages that compiled are kept."
	}
}

// toolSource finds the tool's module. The path at compile time is right for a binary that runs where
// it was built, which is the usual case; a checkout that was moved is found from the current folder.
func toolSource(name string) (string, error) {
	var candidates []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), "tools"))
	}
	var starts []string
	if folder, err := os.Getwd(); err == nil {
		starts = append(starts, folder)
	}
	if executable, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(executable))
	}
	for _, start := range starts {
		for folder := start; ; folder = filepath.Dir(folder) {
			candidates = append(candidates, filepath.Join(folder, "tools"), filepath.Join(folder, "deploy", "devcluster", "tools"))
			if folder == filepath.Dir(folder) {
				break
			}
		}
	}
	for _, candidate := range candidates {
		source := filepath.Join(candidate, name)
		if isFile(filepath.Join(source, "go.mod")) && isFile(filepath.Join(candidate, "kubernetes", "local_provisioner.go")) {
			return source, nil
		}
	}
	return "", fmt.Errorf("the source of %s is not found; run devcluster inside a checkout that has deploy/devcluster/tools", name)
}

// environment is the part of Go's environment that decides what a build yields.
type environment struct {
	GOVERSION, GOOS, GOARCH, CGO_ENABLED string
}

func (e environment) identity() []string {
	return []string{e.GOVERSION, e.GOOS, e.GOARCH, "cgo=" + e.CGO_ENABLED}
}

func goEnvironment(folder string, env []string) (environment, error) {
	command := exec.Command("go", "env", "-json", "GOVERSION", "GOOS", "GOARCH", "CGO_ENABLED")
	command.Dir = folder
	command.Env = env
	output, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return environment{}, errors.New("the command go is not found; install Go (the version is in deploy/devcluster/go.mod) and put it on PATH")
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return environment{}, fmt.Errorf("go env failed: %s\n%s", strings.TrimSpace(string(exit.Stderr)), buildAdvice(string(exit.Stderr)))
		}
		return environment{}, fmt.Errorf("go env failed: %w", err)
	}
	var parsed environment
	if err := json.Unmarshal(output, &parsed); err != nil {
		return environment{}, fmt.Errorf("go env printed something unexpected: %w", err)
	}
	return parsed, nil
}

// env is the environment of the go command for this tool. Without a C compiler Go leaves out what needs one,
// and a build would pass that makes a program without its database.
func (t tool) env() []string {
	if t.needsC {
		return append(goEnv(), "CGO_ENABLED=1")
	}
	return goEnv()
}

// goEnv keeps Go from downloading another toolchain and from reading a workspace around the module.
func goEnv() []string {
	return append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off")
}

// requiredVersion reads the version of a module from a go.mod, its only home.
func requiredVersion(goMod, module string) (string, error) {
	content, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	pattern := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	match := pattern.FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", goMod, module)
	}
	return string(match[1]), nil
}

// contentHash identifies a build by everything that goes into it: the folder's files with their
// names, and the given parameters. Lengths are hashed too, so that no two inputs run together.
func contentHash(folder string, parameters []string) (string, error) {
	hash := sha256.New()
	for _, parameter := range parameters {
		fmt.Fprintf(hash, "parameter %d %s\n", len(parameter), parameter)
	}
	var names []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.Type().IsRegular() && (strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") || name == "go.mod" || name == "go.sum") {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	sort.Strings(names)
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "file %s %d\n", filepath.ToSlash(relative), len(content))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// cacheFolder is outside every checkout, so that a second clone finds what the first one built.
func cacheFolder() (string, error) {
	if folder := os.Getenv("STOREKEEPER_CACHE"); folder != "" {
		folder, err := filepath.Abs(folder)
		return filepath.Join(folder, "tools"), err
	}
	// Relative values are to be ignored, says the XDG specification.
	if folder := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(folder) {
		return filepath.Join(folder, "storekeeper", "tools"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("no folder for the tool cache: set STOREKEEPER_CACHE or HOME")
	}
	return filepath.Join(home, ".cache", "storekeeper", "tools"), nil
}

// lockFile takes an exclusive lock that the kernel releases if the process dies.
func lockFile(path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		waiting()
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

func reportEvery(interval time.Duration, report func(elapsed time.Duration)) (stop func()) {
	started, done := time.Now(), make(chan struct{})
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				report(time.Since(started))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "devcluster: "+format+"\n", arguments...)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > count {
		lines = lines[len(lines)-count:]
	}
	return strings.Join(lines, "\n")
}

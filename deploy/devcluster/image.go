package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// load is the command of that name.
func load(target target, arguments []string) error {
	flags := newFlags("load")
	target.register(flags)
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if err := target.resolve(); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return usageError{"load needs the file of an image: an OCI or Docker archive"}
	}
	found, err := readState(target.folder)
	if errors.Is(err, errNoCluster) || err == nil && !found.running() {
		return fmt.Errorf("cluster %s is down; run devcluster up --node real first, or give --name or --state", target.name)
	}
	if err != nil {
		return err
	}
	containers, err := runtimeOfCluster(found)
	if err != nil {
		return err
	}
	for _, file := range flags.Args() {
		began := time.Now()
		loaded, err := containers.load(context.Background(), file)
		if err != nil {
			return err
		}
		how := fmt.Sprintf("loaded in %.1f s", seconds(time.Since(began)))
		if loaded.present {
			how = "was there"
		}
		for _, image := range loaded.images {
			fmt.Printf("%s  %s  %s\n", image.name, image.digest, how)
		}
	}
	return nil
}

// containerRuntime is the node's containerd, as ctr reaches it from the host.
type containerRuntime struct {
	ctr     string
	address string
}

// runtimeOf reaches containerd's socket through the node's own root.
func runtimeOf(binaries binaries, first process) containerRuntime {
	return containerRuntime{
		ctr:     filepath.Join(filepath.Dir(binaries.containerd), "ctr"),
		address: fmt.Sprintf("/proc/%d/root%s", first.PID, containerdEndpoint),
	}
}

func runtimeOfCluster(found *state) (containerRuntime, error) {
	if found.Real == nil {
		return containerRuntime{}, errNoNode
	}
	for _, component := range found.Components {
		if component.Name == nodeName && component.Process.belongsTo(found.Folder) {
			return runtimeOf(binaries{containerd: found.Containerd}, component.Process), nil
		}
	}
	return containerRuntime{}, errors.New("the node does not run; see devcluster status")
}

type image struct{ name, digest string }

type loaded struct {
	images []image
	// present says that nothing had to be done.
	present bool
}

// load imports an archive unless all its images are there.
func (r containerRuntime) load(ctx context.Context, file string) (loaded, error) {
	images, err := archiveImages(file)
	if err != nil {
		return loaded{}, err
	}
	before, err := r.images(ctx)
	if err != nil {
		return loaded{}, err
	}
	if len(images) > 0 && contains(before, images) {
		return loaded{images, true}, nil
	}
	// The node's own snapshotter unpacks it, so that the first pod need not wait for that.
	if _, err := r.run(ctx, "images", "import", file); err != nil {
		return loaded{}, fmt.Errorf("load %s: %w", file, err)
	}
	after, err := r.images(ctx)
	if err != nil {
		return loaded{}, err
	}
	if len(images) > 0 {
		if !contains(after, images) {
			return loaded{}, fmt.Errorf("load %s: containerd took it, but does not list %v", file, images)
		}
		return loaded{images, false}, nil
	}
	// A Docker archive says its names elsewhere; what is new came from it.
	for name, digest := range after {
		if before[name] != digest && !strings.HasPrefix(name, "sha256:") {
			images = append(images, image{name, digest})
		}
	}
	return loaded{images, len(images) == 0}, nil
}

func contains(present map[string]string, wanted []image) bool {
	for _, image := range wanted {
		if present[image.name] != image.digest {
			return false
		}
	}
	return true
}

// images are the digests of the runtime's images by name.
func (r containerRuntime) images(ctx context.Context) (map[string]string, error) {
	output, err := r.run(ctx, "images", "list")
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for line := range strings.Lines(output) {
		// REF TYPE DIGEST SIZE PLATFORMS LABELS
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "sha256:") {
			images[fields[0]] = fields[2]
		}
	}
	return images, nil
}

func (r containerRuntime) run(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, r.ctr, append([]string{"--address", r.address, "--namespace", "k8s.io"}, arguments...)...)
	var output, problem bytes.Buffer
	command.Stdout, command.Stderr = &output, &problem
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(arguments, " "), err, lastLines(problem.String(), 5))
	}
	return output.String(), nil
}

// imageNameAnnotation is the full name under which an image is to be imported.
const imageNameAnnotation = "io.containerd.image.name"

// descriptor is an entry of an OCI index.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archiveImages reads the names and digests in an OCI archive. It returns none for a Docker archive,
// and for one that leaves names to whoever imports it.
func archiveImages(file string) ([]image, error) {
	content, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	// Skips over the layers, as a file can seek.
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is no tar archive of an image: %w", file, err)
		}
		if strings.TrimPrefix(header.Name, "./") != "index.json" {
			continue
		}
		var index struct {
			Manifests []descriptor `json:"manifests"`
		}
		if err := json.NewDecoder(archive).Decode(&index); err != nil {
			return nil, fmt.Errorf("read index.json in %s: %w", file, err)
		}
		var images []image
		for _, manifest := range index.Manifests {
			name := manifest.Annotations[imageNameAnnotation]
			if name == "" {
				return nil, nil
			}
			images = append(images, image{name, manifest.Digest})
		}
		return images, nil
	}
}

// writePauseImage makes the image of every pod's first process: one static program.
func writePauseImage(folder string, binaries binaries) (string, error) {
	program, err := os.ReadFile(filepath.Join(filepath.Dir(binaries.containerd), "pause"))
	if err != nil {
		return "", err
	}
	content, err := ociArchive(pauseImage, "pause", program)
	if err != nil {
		return "", err
	}
	path := nodeFile(folder, "pause.oci.tar")
	return path, os.WriteFile(path, content, 0o600)
}

// ociArchive is an image that consists of one program in its root.
func ociArchive(name, program string, binary []byte) ([]byte, error) {
	layer, err := tarOf([]tarFile{{program, binary}})
	if err != nil {
		return nil, err
	}
	files := []tarFile{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	add := func(mediaType string, content []byte) descriptor {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		files = append(files, tarFile{"blobs/sha256/" + digest, content})
		return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: int64(len(content))}
	}
	layerEntry := add("application/vnd.oci.image.layer.v1.tar", layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/" + program}, "User": "65535:65535"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layerEntry.Digest}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        add("application/vnd.oci.image.config.v1+json", config),
		"layers":        []descriptor{layerEntry},
	})
	if err != nil {
		return nil, err
	}
	entry := add("application/vnd.oci.image.manifest.v1+json", manifest)
	entry.Annotations = map[string]string{imageNameAnnotation: name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{entry}})
	if err != nil {
		return nil, err
	}
	return tarOf(append(files, tarFile{"index.json", index}))
}

type tarFile struct {
	name    string
	content []byte
}

func tarOf(files []tarFile) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, file := range files {
		if err := writer.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.content)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := writer.Write(file.content); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), writer.Close()
}

package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDockerfile: it builds with the Go that go.mod asks for, and the result runs as nobody.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	goMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(goMod))
	if version == nil {
		t.Fatal("go.mod: it names no version")
	}
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{
		"golang:" + version[1] + ".", "CGO_ENABLED=0 ", "FROM gcr.io/distroless/static-debian12:nonroot",
		"\nUSER 65532:65532\n", "\nENTRYPOINT [\"/connector\"]\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("Dockerfile: it does not say %q", want)
		}
	}
	if strings.Contains(text, "VOLUME") {
		t.Error("Dockerfile: it has a volume, and nothing is kept on disk")
	}
}

// TestPinImages: digests are written behind all tags, and renewed when it runs again.
// In the place of Docker answers a script, since no registry is asked here.
func TestPinImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyFile := func(name string, mode os.FileMode) {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "deploy", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	copyFile("Dockerfile", 0o644)
	copyFile("compose/docker-compose.yml", 0o644)
	copyFile("pin-images.sh", 0o755)
	images := regexp.MustCompile(`(?m)(?:^FROM(?: --platform=\S+)?|^ +image:) (\S+:\S+)( AS build)?$`)
	all := func() string {
		var text strings.Builder
		for _, name := range []string{"Dockerfile", "compose/docker-compose.yml"} {
			data, err := os.ReadFile(filepath.Join(dir, "deploy", name))
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
		return text.String()
	}
	before := images.FindAllStringSubmatch(all(), -1)
	if len(before) != 7 {
		t.Fatalf("images are %q", before)
	}
	pin := func(digest string) ([]byte, error) {
		docker := "#!/bin/sh\n[ \"$1 $2 $3 $5\" = 'buildx imagetools inspect --format' ] || exit 1\ncase $4 in *@*) exit 1;; esac\necho " + digest + "\n"
		if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "deploy/pin-images.sh"))
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		return cmd.CombinedOutput()
	}
	for _, digit := range []string{"a", "b"} {
		digest := "sha256:" + strings.Repeat(digit, 64)
		if out, err := pin(digest); err != nil {
			t.Fatalf("pin-images.sh: %v\n%s", err, out)
		}
		after := images.FindAllStringSubmatch(all(), -1)
		if len(after) != len(before) {
			t.Fatalf("images are %q", after)
		}
		for i, image := range after {
			tagged, _, _ := strings.Cut(before[i][1], "@")
			if image[1] != tagged+"@"+digest || image[2] != before[i][2] {
				t.Errorf("%q became %q", before[i][0], image[0])
			}
		}
	}
	pinned := all()
	if out, err := pin("none"); err == nil {
		t.Errorf("pin-images.sh: what is no digest was taken: %s", out)
	}
	if all() != pinned {
		t.Error("pin-images.sh: a failure changed the files")
	}
}

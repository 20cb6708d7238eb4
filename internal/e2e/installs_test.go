package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// installLimit bounds the fetching of an example's dependencies.
const installLimit = 5 * time.Minute

// installed returns a folder below the cache that holds what install puts there.
// A later run with the same key finds it; two at a time make one.
func installed(t testing.TB, name, key string, install func(ctx context.Context, dir string) error) string {
	t.Helper()
	cache, err := devstack.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(key))
	dir := filepath.Join(cache, "examples", name+"-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), ".unfinished-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(unfinished)
	ctx, cancel := context.WithTimeout(t.Context(), installLimit)
	defer cancel()
	if err := install(ctx, unfinished); err != nil {
		testenv.Need(t, unavailable("installing what %s needs: %v", name, err))
	}
	if err := os.Rename(unfinished, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unavailable is an error that skips a test where nothing demands it.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), devstack.ErrUnavailable)
}

// needCommand returns the path of a program of the machine.
func needCommand(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testenv.Need(t, unavailable("%s is not installed", name))
	}
	return path
}

func commandIn(dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	return cmd
}

// pythonPackages returns the machine's Python and a folder with what a file of
// requirements names. Options are pip's.
func pythonPackages(t *testing.T, name, requirements string, options ...string) (python, packages string) {
	python = needCommand(t, "python3")
	version, err := output(t.Context(), exec.Command(python, "-c",
		`import sys, platform; print(*sys.version_info[:2], platform.machine()); sys.exit(sys.version_info < (3, 10))`))
	if err != nil {
		testenv.Need(t, unavailable("python3 is older than 3.10: %v", err))
	}
	content, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	dir := installed(t, name, version+string(content), func(ctx context.Context, dir string) error {
		// A venv cannot be moved, what pip puts into a folder can.
		venv := filepath.Join(dir, "venv")
		defer os.RemoveAll(venv)
		if _, err := output(ctx, exec.Command(python, "-m", "venv", venv)); err != nil {
			return err
		}
		args := append([]string{"-m", "pip", "install", "--quiet", "--no-input", "--target", filepath.Join(dir, "lib"), "-r", requirements}, options...)
		_, err := output(ctx, exec.Command(filepath.Join(venv, "bin", "python"), args...))
		return err
	})
	return python, filepath.Join(dir, "lib")
}

// pythonCommand runs a program with packages.
func pythonCommand(python, packages string, args ...string) *exec.Cmd {
	cmd := exec.Command(python, args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

func pythonExample(t *testing.T) func(*stack, *replica, string) string {
	python, packages := pythonPackages(t, "python", examplePath(t, "python", "requirements.txt"), "--only-binary=:all:")
	return func(s *stack, _ *replica, exchange string) string {
		return s.runExample(pythonCommand(python, packages, examplePath(t, "python", "publish.py"),
			"--brokers", strings.Join(s.brokers, ","), "--exchange", exchange))
	}
}

// nodeVersion is fetched where the machine's Node.js cannot run TypeScript.
const nodeVersion = "24.21.0"

// needNode returns a Node.js that runs TypeScript: the machine's, or one from
// the npm registry.
func needNode(t testing.TB) string {
	t.Helper()
	machines := needCommand(t, "node")
	version, err := output(t.Context(), exec.Command(machines, "--version"))
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if n, err := fmt.Sscanf(version, "v%d.%d", &major, &minor); err != nil || n != 2 {
		t.Fatalf("node --version says %q", version)
	}
	if major > 22 || major == 22 && minor >= 22 {
		return machines
	}
	arch, known := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if runtime.GOOS != "linux" || !known {
		testenv.Need(t, unavailable("Node.js is %s, older than 22.22", strings.TrimSpace(version)))
	}
	npm, pkg := needCommand(t, "npm"), "node-linux-"+arch
	dir := installed(t, "node", nodeVersion+arch, func(ctx context.Context, dir string) error {
		_, err := output(ctx, commandIn(dir, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", pkg+"@"+nodeVersion))
		return err
	})
	return filepath.Join(dir, "node_modules", pkg, "bin", "node")
}

func typescriptExample(t *testing.T) func(*stack, *replica, string) string {
	node, npm := needNode(t), needCommand(t, "npm")
	manifests := []string{"package.json", "package-lock.json"}
	var key strings.Builder
	for _, name := range manifests {
		key.Write(exampleFile(t, "typescript", name))
	}
	packages := installed(t, "typescript", key.String(), func(ctx context.Context, dir string) error {
		for _, name := range manifests {
			if err := os.WriteFile(filepath.Join(dir, name), exampleFile(t, "typescript", name), 0o644); err != nil {
				return err
			}
		}
		_, err := output(ctx, commandIn(dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"))
		return err
	})
	// The program finds its packages beside itself.
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS(examplePath(t, "typescript", "src"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"package.json", "tsconfig.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), exampleFile(t, "typescript", name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(dir, "node_modules")
	if err := os.Symlink(filepath.Join(packages, "node_modules"), modules); err != nil {
		t.Fatal(err)
	}
	if _, err := output(t.Context(), commandIn(dir, node, filepath.Join(modules, "typescript", "bin", "tsc"))); err != nil {
		t.Errorf("the types do not fit: %v", err)
	}
	return func(s *stack, _ *replica, exchange string) string {
		return s.runExample(commandIn(dir, node, filepath.Join("src", "publish.ts"),
			"--brokers", strings.Join(s.brokers, ","), "--exchange", exchange))
	}
}

package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// kafkaVersion is the broker that tests run against. It needs Java 17 or later.
const kafkaVersion = "4.4.0"

// pom lists the broker. Without an slf4j backend it would log nothing.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

// findKafka returns the folder of the broker's jars, fetching them with Maven
// where the cache has none.
func findKafka(ctx context.Context, cache string, progress func(Progress)) (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", unavailable("Apache Kafka needs Java 17 or later, and this machine has no java: apt-get install openjdk-17-jre-headless")
	}
	cache, err := openCache(cache, "kafka")
	if err != nil {
		return "", err
	}
	return fetchOnce(ctx, cache, "kafka-"+kafkaVersion, progress, func(dir string) error {
		return fetchKafka(ctx, dir, progress)
	})
}

func fetchKafka(ctx context.Context, dir string, progress func(Progress)) error {
	if _, err := exec.LookPath("mvn"); err != nil {
		return unavailable("Apache Kafka is fetched with Maven, and this machine has no mvn: apt-get install maven")
	}
	report(progress, "downloading Apache Kafka "+kafkaVersion)
	project := filepath.Dir(dir)
	if err := os.WriteFile(filepath.Join(project, "pom.xml"), []byte(pom), 0o644); err != nil {
		return err
	}
	args := []string{
		"-B", "-q", "-f", filepath.Join(project, "pom.xml"),
		"dependency:copy-dependencies", "-DoutputDirectory=" + dir, "-DincludeScope=runtime",
	}
	if !hasMavenRepository() {
		args = append(args, "-Dmaven.repo.local="+filepath.Join(project, "repository"))
	}
	cmd := exec.CommandContext(ctx, "mvn", args...)
	cmd.Dir = project
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if out, err := output(cmd, account{}); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("downloading Apache Kafka: mvn: %w: %s", err, firstLines(string(out), 2))
	}
	if !fileExists(filepath.Join(dir, "kafka_2.13-"+kafkaVersion+".jar")) {
		return errors.New("downloading Apache Kafka: Maven did not bring the broker's jar")
	}
	return nil
}

// hasMavenRepository tells whether Maven can keep what it downloads in the
// account's home, which is the one of the account, whatever HOME says.
func hasMavenRepository() bool {
	u, err := user.Current()
	return err == nil && os.MkdirAll(filepath.Join(u.HomeDir, ".m2"), 0o755) == nil
}

// firstLines is for Maven, whose last lines are general advice.
func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

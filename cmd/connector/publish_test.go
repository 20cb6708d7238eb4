package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/publish/files"
)

// TestPublishForms: every form of file is published as it is, in its order, and
// not a second time unless that is asked for.
func TestPublishForms(t *testing.T) {
	publishOnBoth(t, func(f *publishing) {
		var csv strings.Builder
		csv.WriteString("\xef\xbb\xbfSymbol,ts,amount,PRICE,trade_id,venue note\r\n")
		for n := 300; n < 400; n++ {
			fmt.Fprintf(&csv, "S%d,%d,0.50000000000000000001,1e-7,%d,\"a, \"\"b\"\"\"\r\n", n%50, 1_700_000_000_000+n, n)
		}
		paths := []string{
			f.write("a.jsonl", []byte(goodLines(0, 100)+"\n\n")),
			f.write("b.data", gzipped(f, goodLines(100, 200))),
			f.write("c.jsonl.gz", zstandard(f, goodLines(200, 299)+good(299))), // its name is wrong
		}
		code, s, errOut := f.summary(paths...)
		if code != 0 || !s.Good || s.Published != 300 || s.Files[1].Topics[f.topic()] != 100 || s.Files[0].Lines != 100 {
			f.Fatalf("exit code %d, %+v, %s", code, s, errOut)
		}
		table := f.write("d.csv", []byte(csv.String()))
		code, s, errOut = f.summary("--map", "ts=time", "--map", "amount=size", table)
		if code != 0 || s.Published != 100 || len(s.Files[0].UnknownColumns) != 1 || strings.Count(errOut, "venue note") != 1 {
			f.Fatalf("exit code %d, %+v, %s", code, s, errOut)
		}
		for _, r := range f.read() {
			id := tradeID(f, r.Value)
			want := good(id)
			want = want[:len(want)-1] + `,"exchangeId":"` + f.exchange + `"}`
			if id >= 300 {
				want = fmt.Sprintf(`{"symbol":"S%d","time":"%d","size":"0.50000000000000000001","price":"1e-7","tradeId":"%d","venue note":"a, \"b\"","exchangeId":"%s"}`,
					id%50, 1_700_000_000_000+id, id, f.exchange)
			}
			if string(r.Value) != want || string(r.Key) != fmt.Sprintf("S%d", id%50) {
				f.Errorf("the log holds %s %s, want %s", r.Key, r.Value, want)
			}
		}
		f.wantOnce(400)

		code, out, errOut := f.publish(paths...)
		if code != 0 || f.end() != 400 {
			f.Errorf("asked again: exit code %d, %d records, %s", code, f.end(), errOut)
		}
		f.wantText(errOut, "a.jsonl: already published: 100 records")
		f.wantText(out, "already published")
		if code, _, errOut = f.publish("--restart", paths[0]); code != 0 || f.end() != 500 {
			f.Errorf("--restart: exit code %d, %d records, %s", code, f.end(), errOut)
		}
	})
}

// TestPublishStandardInput: what comes through a pipe.
func TestPublishStandardInput(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	root := newRootCommand()
	var out, errOut syncedBuffer
	root.SetIn(bytes.NewReader(gzipped(t, goodLines(0, 50))))
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(f.args("-"))
	if err := root.ExecuteContext(f.ctx()); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	f.wantOnce(50)
}

// TestPublishRejects: bad lines cost no good one, and each is kept to the byte
// with its place and reason.
func TestPublishRejects(t *testing.T) {
	publishOnBoth(t, func(f *publishing) {
		bad := []string{
			`{"symbol":"S1","tradeId":"x","time":1700000000000,"price":"-1","size":1}` + "\r\n",
			"not JSON\n",
			`{"symbol":"` + strings.Repeat("long", 600_000) + "\"}\n",
			`{"symbol":"` + strings.Repeat("x", 999_000) + `"}` + "\n",
			"{\"symbol\":\"\xff\"}\n",
		}
		var content strings.Builder
		content.WriteString(goodLines(0, 10))
		for i, b := range bad {
			content.WriteString(b + goodLines(10*i+10, 10*i+20))
		}
		cut := good(60)[:30]
		path := f.write("t.jsonl", []byte(content.String()+cut))
		code, s, errOut := f.summary(path)
		if code != 1 || s.Good || s.Published != 60 || s.Rejected != 6 || s.Files[0].State != "published" {
			f.Errorf("exit code %d, %+v", code, s)
		}
		f.wantOnce(60)
		f.wantText(errOut,
			path+`:11: price: "-1" is not above 0 (out_of_range)`, path+":22: not JSON: ", path+":33: the line is longer than",
			path+":44: ", path+":66: the file ends in the middle of a record", "(cut_off)")
		kept, err := os.ReadFile(f.path("rejected"))
		if err != nil {
			f.Fatal(err)
		}
		if want := strings.Join(bad, "") + cut + "\n"; string(kept) != want {
			f.Errorf("%d bytes are kept of %d", len(kept), len(want))
		}
		// Nothing new: it is not rejected again, but the answer stays no.
		if code, s, _ := f.summary(path); code != 1 || s.Rejected != 6 || s.Published != 0 || s.Files[0].State != "already published" {
			f.Errorf("asked again: exit code %d, %+v", code, s)
		}
		// The cut line is finished by whoever writes the file.
		f.add("t.jsonl", good(60)[30:]+"\n"+goodLines(61, 70))
		if code, s, _ := f.summary(path); code != 1 || s.Rejected != 5 || s.Published != 10 {
			f.Errorf("grown: exit code %d, %+v", code, s)
		}
		f.wantOnce(70)
	})
}

// TestPublishCSVRejects: a line of another width, one with a stray quote and one
// that ends within quotes.
func TestPublishCSVRejects(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	path := f.write("t.csv", []byte("symbol,tradeId,time,price,size\nS0,0,1700000000000,1,1\nS1,1,1700000000000,1\n"+
		"S1,\"1\"x,1700000000000,1,1\nS1,\"1,1700000000000,1,1\nS1,1,1700000000001,1,1\nS2,2,1700000000000,,1\nS2,2,170"))
	code, _, errOut := f.publish(path)
	f.wantText(errOut, path+":3: 4 columns, the header has 5 (bad_csv)", path+":4: column ", path+":5: a quoted value does not end in its line",
		path+":7: price: is required", path+":8: the file ends in the middle of a record")
	kept, err := os.ReadFile(f.path("rejected"))
	want := "symbol,tradeId,time,price,size\nS1,1,1700000000000,1\nS1,\"1\"x,1700000000000,1,1\nS1,\"1,1700000000000,1,1\nS2,2,1700000000000,,1\nS2,2,170\n"
	if err != nil || string(kept) != want || code != 1 {
		t.Errorf("exit code %d, kept %q, %v", code, kept, err)
	}
	f.wantOnce(2)
}

// TestPublishDamaged: what comes before the damage is published, the place is
// kept, and the whole file is gone on with.
func TestPublishDamaged(t *testing.T) {
	t.Parallel()
	for name, pack := range map[string]func(testing.TB, string) []byte{"t.jsonl.gz": gzipped, "t.jsonl.zst": zstandard} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPublishing(t, brokerOf(t))
			const n = 20_000
			whole := pack(t, goodLines(0, n))
			path := f.write(name, whole[:len(whole)*3/4])
			code, s, errOut := f.summary(path)
			got := s.Published
			if code != 1 || got < n/4 || got >= n || s.Files[0].State != "failed" || f.end() != got {
				t.Fatalf("exit code %d, %+v, %d records, %s", code, s, f.end(), errOut)
			}
			f.wantText(errOut, fmt.Sprintf("stream is cut or damaged after line %d", got), fmt.Sprintf("from line %d on", got+1))
			f.write(name, whole)
			if code, s, errOut = f.summary(path); code != 0 || s.Published != n-got {
				t.Errorf("whole: exit code %d, %+v, %s", code, s, errOut)
			}
			f.wantOnce(n)
		})
	}
}

// TestPublishChangedFile: only a file that grew behind its place is gone on with.
func TestPublishChangedFile(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	// It is longer than the part whose hash is kept.
	path := f.write("t.jsonl", []byte(goodLines(0, 1000)))
	publish := func(wantCode int, wantEnd int64, wants ...string) {
		t.Helper()
		code, _, errOut := f.publish(path)
		if code != wantCode || f.end() != wantEnd {
			t.Errorf("exit code %d, %d records: %s", code, f.end(), errOut)
		}
		f.wantText(errOut, wants...)
	}
	publish(0, 1000)
	f.add("t.jsonl", goodLines(1000, 1010))
	publish(0, 1010, "goes on at line 1001")
	f.add("t.jsonl", good(1010)) // without a newline
	publish(0, 1011)
	f.add("t.jsonl", "\n"+good(1011)+"\n")
	publish(0, 1012, "goes on at line 1012")

	all := goodLines(0, 1012)
	for name, content := range map[string]string{
		"shorter":              goodLines(0, 990),
		"the same size":        strings.Replace(all, "S3", "S4", 1),
		"another beginning":    strings.Replace(all, "S3", "S4", 1) + goodLines(1012, 1020),
		"another line at last": goodLines(0, 1011) + strings.Replace(good(1011), "0.5", "0.6", 1) + "\n" + goodLines(1012, 1020),
	} {
		f.write("t.jsonl", []byte(content))
		code, _, errOut := f.publish(path)
		if code != 1 || !strings.Contains(errOut, "the file has changed") || !strings.Contains(errOut, "--restart") || f.end() != 1012 {
			t.Errorf("%s: exit code %d, %d records: %s", name, code, f.end(), errOut)
		}
	}
	f.write("t.jsonl", []byte(all+goodLines(1012, 1020)))
	code, _, errOut := f.publish("--exchange", "another", path)
	if code != 1 || !strings.Contains(errOut, "was published, in part or whole, with other options") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	publish(0, 1020, "goes on at line 1013")
	f.wantOnce(1020)
	// A last line without newline that goes on is another one.
	path = f.write("u.jsonl", []byte(good(1200)))
	publish(0, 1021)
	f.add("u.jsonl", "x\n")
	publish(1, 1021, "the file has changed")
}

// TestPublishDryRun checks all and keeps nothing, without brokers.
func TestPublishDryRun(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	f.connect = []string{"--brokers", "127.0.0.1:1"}
	path := f.write("t.jsonl", []byte(goodLines(0, 10)+"x\n"+goodLines(10, 20)))
	code, out, errOut := f.publishFor(f.ctx(), "--dry-run", path)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	f.wantText(out, "checked", f.topic()+" 20")
	f.wantText(errOut, path+":11: not JSON")
	if _, err := os.Stat(f.path("state")); err == nil || f.end() != 0 {
		t.Error("something was kept or published")
	}
	if _, err := os.Stat("t.jsonl.rejected"); err == nil {
		t.Error("rejected lines were kept")
	}
}

// TestPublishArguments: what cannot be meant is said with what to do.
func TestPublishArguments(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	f.connect = nil
	jsonl := f.write("t.jsonl", []byte(goodLines(0, 1)))
	csv := f.write("t.csv", []byte("symbol,ts,price,size\nS,1700000000000,1,1\n"))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--kind", "trad", jsonl}, `"trad" is no kind of market data; did you mean trade?`},
		{[]string{"--kind", "", jsonl}, "--kind: it is needed"},
		{[]string{f.dir}, "is a folder: name the files in it, as in " + f.dir + "/*.jsonl"},
		{[]string{f.path("none")}, "there is no such file"},
		{[]string{"--layout", "exchange", jsonl}, "is refused"},
		{[]string{"--format", "xml", jsonl}, `--format: "xml" is neither jsonl nor csv`},
		{[]string{"--rate", "-1", jsonl}, "--rate: -1 is below 0"},
		{[]string{"--speed", "fast", jsonl}, `--speed: "fast" is no speed such as`},
		{[]string{"--loop", "-"}, "--loop: standard input cannot be read again"},
		{[]string{"-", "-"}, "standard input can be read once"},
		{[]string{"--map", "ts", csv}, `--map: "ts" is not column=field`},
		{[]string{"--brokers", "a:1", "-c", "b", jsonl}, "give one of them"},
		{[]string{"--reject", jsonl, jsonl}, "is the file that is published"},
		{[]string{"--dry-run", "--map", "ts=tme", csv}, "did you mean time?"},
		{[]string{"--dry-run", "--map", "tz=time", csv}, "there is no column tz; did you mean ts?"},
		{[]string{"--dry-run", "--map", "ts=price", csv}, `the columns "ts" and "price" are both price`},
		{[]string{"--dry-run", "--map", "ts=time", jsonl}, "this file holds JSON lines"},
		{[]string{"--dry-run", f.write("a.json", []byte("[{}]"))}, "jq -c"},
		{[]string{"--dry-run", f.write("a.csv", []byte("symbol;time\n"))}, "not separated by commas"},
		{[]string{"--dry-run", f.write("a.xz", []byte("\xfd7zXZ\x00xxxx"))}, "unpack it"},
		{[]string{"--dry-run", f.write("a.bin", []byte("\x00\x01\x02xxxxxx"))}, "say which with --format"},
	} {
		code, out, errOut := f.publishFor(f.ctx(), tt.args...)
		if code != 1 || !strings.Contains(errOut, tt.want) {
			t.Errorf("%v: exit code %d, %s%s; want %s", tt.args, code, out, errOut, tt.want)
		}
	}
}

// TestPublishOneAtATime: two processes do not publish the same file.
func TestPublishOneAtATime(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	path := f.write("t.jsonl", []byte(goodLines(0, 1000)))
	first, _ := f.process("--rate", "100", path)
	f.waitEnd(1)
	code, _, errOut := f.publish(path)
	if code != 1 || !strings.Contains(errOut, "is being published by another process") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	_ = first.Process.Kill() // its lock ends with it
	_ = first.Wait()
	if code, _, errOut := f.publish(path); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	f.wantOnce(1000)
}

// TestPublishLoop publishes again and again until it is stopped, and tells of a
// bad line once.
func TestPublishLoop(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	ctx, cancel := context.WithCancel(f.ctx())
	defer cancel()
	path := f.write("t.jsonl", []byte(goodLines(0, 1000)+"x\n"))
	type answer struct {
		code        int
		out, errOut string
	}
	ended := make(chan answer, 1)
	go func() {
		code, out, errOut := f.publishFor(ctx, "--loop", "--reject", f.path("rejected"), "-o", "json", path)
		ended <- answer{code, out, errOut}
	}()
	f.waitEnd(3500)
	cancel()
	a := <-ended
	var s files.Summary
	if err := json.Unmarshal([]byte(a.out), &s); err != nil {
		t.Fatal(err)
	}
	if a.code != 1 || s.Passes < 4 || s.Rejected != 1 || s.Published < 3500 || s.Published != f.end() {
		t.Errorf("exit code %d, %+v", a.code, s)
	}
	f.wantText(a.errOut, "again and again, with the times that they have")
	if strings.Count(a.errOut, "not JSON") != 1 {
		t.Errorf("a bad line is told of again: %s", a.errOut)
	}
}

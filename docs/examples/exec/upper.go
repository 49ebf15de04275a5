// HANDLERS='/upper=exec:./upper': {"text": "abc"} becomes {"text": "ABC"}.
// go build upper.go
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"strings"
)

type job struct {
	ID   string          `json:"id"`
	Body json.RawMessage `json:"body"`
}

type reply struct {
	ID    string `json:"id"`
	Body  any    `json:"body,omitempty"`
	Error string `json:"error,omitempty"`
}

func upper(body json.RawMessage) (any, error) {
	var in struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal(body, &in) != nil || in.Text == nil {
		return nil, errors.New("text must be a string")
	}
	return map[string]string{"text": strings.ToUpper(*in.Text)}, nil
}

func main() {
	// Not a bufio.Scanner: its lines are at most 64 KiB long.
	lines := bufio.NewReader(os.Stdin)
	replies := json.NewEncoder(os.Stdout) // a line each, not buffered
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		var j job
		if err == nil {
			err = json.Unmarshal(line, &j)
		}
		if err != nil {
			log.Fatal(err) // to hcsd's log
		}
		r := reply{ID: j.ID}
		if r.Body, err = upper(j.Body); err != nil {
			r.Error = err.Error()
		}
		if err := replies.Encode(r); err != nil {
			log.Fatal(err)
		}
	}
}

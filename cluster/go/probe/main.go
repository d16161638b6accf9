// Command probe is what `cluster check` runs in pods: a small HTTP server on :8080 that looks at the cluster from inside.
//
//	GET /                        200, for readiness
//	GET /resolve?name=N          the addresses of N, by the cluster's DNS
//	GET /write?path=P            writes P and answers the uid it runs as
//	GET /fetch?url=U             the status code that U answers, for pod-to-service traffic
//	POST /v1/models/M:predict    a fixed prediction, the contract of a KServe custom predictor
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	http.HandleFunc("/resolve", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.URL.Query().Get("name"))
		answer(w, strings.Join(addresses, " "), err)
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		err := os.WriteFile(r.URL.Query().Get("path"), []byte("written by the probe\n"), 0o600)
		answer(w, fmt.Sprintf("uid %d", os.Getuid()), err)
	})
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL.Query().Get("url"), nil)
		if err != nil {
			answer(w, "", err)
			return
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			answer(w, "", err)
			return
		}
		response.Body.Close()
		answer(w, fmt.Sprint(response.StatusCode), nil)
	})
	http.HandleFunc("/v1/models/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, `{"predictions": [{"action": "hold"}]}`, nil)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ready", nil) })
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func answer(w http.ResponseWriter, text string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, text)
}

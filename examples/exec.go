// A bot in Go that takes its token from the environment: deribit-keys exec bot -- go run examples/exec.go
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	url := os.Getenv("DERIBIT_URL") + "/private/get_account_summary?currency=BTC"
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("DERIBIT_ACCESS_TOKEN"))
	answer, err := (&http.Client{Timeout: 15 * time.Second}).Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	var reply struct {
		Result struct {
			Equity float64 `json:"equity"`
		} `json:"result"`
		Error *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&reply); err != nil {
		log.Fatal(err)
	}
	if reply.Error != nil {
		log.Fatalf("%d %s", reply.Error.Code, reply.Error.Message)
	}
	fmt.Printf("equity: %v BTC\n", reply.Result.Equity)
}

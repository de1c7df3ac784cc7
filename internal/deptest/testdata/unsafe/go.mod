module github.com/boxer-sandbox/boxer

go 1.26.0

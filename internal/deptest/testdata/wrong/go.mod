// A module with boxer's name that breaks each rule of package deptest once.
module github.com/boxer-sandbox/boxer

go 1.26

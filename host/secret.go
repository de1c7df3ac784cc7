package host

import "strings"

// A Secret says where a secret value is.
type Secret struct {
	Store string // StoreValue, StoreSSM or StoreSecretsManager
	Name  string // of the secret in the store; for StoreValue the secret itself
}

// The stores of secrets.
const (
	StoreValue          = "value"          // the text itself
	StoreSSM            = "ssm"            // a parameter of AWS Systems Manager
	StoreSecretsManager = "secretsmanager" // a secret of AWS Secrets Manager
)

// ParseSecret reads "ssm:NAME" and "secretsmanager:ID". Any other text is the secret
// itself.
func ParseSecret(s string) Secret {
	for _, store := range [...]string{StoreSSM, StoreSecretsManager} {
		if name, ok := strings.CutPrefix(s, store+":"); ok {
			return Secret{Store: store, Name: name}
		}
	}
	return Secret{Store: StoreValue, Name: s}
}

// String returns the place of the secret, never its value.
func (s Secret) String() string {
	if s.Store == StoreValue {
		return "a value (hidden)"
	}
	return s.Store + ":" + s.Name
}

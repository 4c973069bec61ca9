// Package seal encrypts what a runtime keeps for a driver where others may see it.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Shortest is how many bytes a key has at least.
const Shortest = 16

// Seal encrypts text with AES-256-GCM, and a key that is made from the given one by HKDF-SHA256 (RFC 5869) for the use that is named. It can be
// opened with the same key, use and place, which says where it is kept: moved elsewhere, it is nothing. The key has at least [Shortest] bytes. The result is base64url.
func Seal(key []byte, use, place string, text []byte) (string, error) {
	c, err := aead(key, use)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(c.Seal(nil, nil, text, []byte(place))), nil
}

// Open decrypts what Seal has made.
func Open(key []byte, use, place, sealed string) ([]byte, error) {
	c, err := aead(key, use)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, err
	}
	return c.Open(nil, nil, raw, []byte(place))
}

func aead(key []byte, use string) (cipher.AEAD, error) {
	if len(key) < Shortest {
		return nil, fmt.Errorf("the key has %d bytes; %d are the least", len(key), Shortest)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, use, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

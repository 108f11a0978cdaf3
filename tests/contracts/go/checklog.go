// Checks a mirrored log directory with Go's own sumdb/note and sumdb/tlog, which share no code and
// no author with ours: signature, every tile, every entry, sampled inclusion and consistency.
//
//	checklog <directory> <log's verifier key>
//
// Prints "OK <size> <root> <proofs>" or the reason on standard error, exit status 1. It maps the
// tile paths: Go writes tile/8/<L>/<N>, c2sp.org/tlog-tiles leaves the height out.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8
const samples = 64

type directory string

func (d directory) path(t tlog.Tile) string {
	return filepath.Join(string(d), "tile", strings.TrimPrefix(t.Path(), "tile/8/"))
}

func (d directory) Height() int { return height }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, len(tiles))
	for i, t := range tiles {
		data, err := os.ReadFile(d.path(t))
		if os.IsNotExist(err) && t.W < 1<<height {
			full := t
			full.W = 1 << height // a partial tile may be gone once the full one is there
			data, err = os.ReadFile(d.path(full))
		}
		if err != nil {
			return nil, err
		}
		if len(data) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: expected %d bytes, got %d", d.path(t), t.W*tlog.HashSize, len(data))
		}
		all[i] = data[:t.W*tlog.HashSize]
	}
	return all, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: checklog <directory> <verifier key>")
		os.Exit(2)
	}
	if err := check(directory(os.Args[1]), os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(d directory, vkey string) error {
	tree, err := openCheckpoint(d, vkey)
	if err != nil {
		return err
	}
	// TileHashReader authenticates every tile it hands out against tree.Hash.
	reader := tlog.TileHashReader(tree, d)
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	if root != tree.Hash {
		return fmt.Errorf("tree: expected root %v, got %v", tree.Hash, root)
	}
	if err := checkTiles(d, tree, reader); err != nil {
		return err
	}
	if err := checkEntries(d, tree, reader); err != nil {
		return err
	}
	proofs, err := checkProofs(tree, reader)
	if err != nil {
		return err
	}
	fmt.Printf("OK %d %v %d\n", tree.N, tree.Hash, proofs)
	return nil
}

func openCheckpoint(d directory, vkey string) (tlog.Tree, error) {
	var tree tlog.Tree
	data, err := os.ReadFile(filepath.Join(string(d), "checkpoint"))
	if err != nil {
		return tree, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tree, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, fmt.Errorf("checkpoint: expected origin %q, got %q", verifier.Name(), lines[0])
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(hash) != tlog.HashSize {
		return tree, fmt.Errorf("checkpoint: expected a root of 32 bytes, got %q", lines[2])
	}
	copy(tree.Hash[:], hash)
	return tree, nil
}

// checkTiles compares every tile such a tree must publish, byte for byte, with the one Go makes.
func checkTiles(d directory, tree tlog.Tree, reader tlog.HashReader) error {
	for _, tile := range tlog.NewTiles(height, 0, tree.N) {
		if last := int(tree.N>>(height*tile.L)) % (1 << height); tile.W < 1<<height && tile.W != last {
			continue // NewTiles lists every narrower partial tile too; none is owed for this size
		}
		expected, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path(tile), err)
		}
		actual, err := os.ReadFile(d.path(tile))
		if err != nil {
			return err
		}
		if !bytes.Equal(expected, actual) {
			return fmt.Errorf("%s: differs from the tile of this tree", d.path(tile))
		}
	}
	return nil
}

func checkEntries(d directory, tree tlog.Tree, reader tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += 1 << height {
		tile := tlog.Tile{H: height, L: 0, N: first >> height, W: 1 << height}
		if tree.N-first < 1<<height {
			tile.W = int(tree.N - first)
		}
		path := strings.Replace(d.path(tile), "/tile/0/", "/tile/entries/", 1)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var indexes []int64
		var hashes []tlog.Hash
		for len(data) > 0 {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("%s: an entry is cut off", path)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(len(hashes))))
			hashes = append(hashes, tlog.RecordHash(data[2:end]))
			data = data[end:]
		}
		if len(hashes) != tile.W {
			return fmt.Errorf("%s: expected %d entries, got %d", path, tile.W, len(hashes))
		}
		leaves, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i := range leaves {
			if leaves[i] != hashes[i] {
				return fmt.Errorf("entry %d: expected leaf %v, got %v", first+int64(i), leaves[i], hashes[i])
			}
		}
	}
	return nil
}

func checkProofs(tree tlog.Tree, reader tlog.HashReader) (int, error) {
	proofs := 0
	for _, index := range sampled(tree.N) {
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return proofs, err
		}
		record, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return proofs, err
		}
		if err := tlog.CheckRecord(record, tree.N, tree.Hash, index, leaf[0]); err != nil {
			return proofs, fmt.Errorf("inclusion of %d: %w", index, err)
		}
		old, err := tlog.TreeHash(index+1, reader)
		if err != nil {
			return proofs, err
		}
		grown, err := tlog.ProveTree(tree.N, index+1, reader)
		if err != nil {
			return proofs, err
		}
		if err := tlog.CheckTree(grown, tree.N, tree.Hash, index+1, old); err != nil {
			return proofs, fmt.Errorf("consistency from %d: %w", index+1, err)
		}
		proofs += 2
	}
	return proofs, nil
}

func sampled(size int64) []int64 {
	var indexes []int64
	step := size/samples + 1
	for index := int64(0); index < size; index += step {
		indexes = append(indexes, index)
	}
	if size > 0 {
		indexes = append(indexes, size-1)
	}
	return indexes
}

package strictjson

// scanner walks a document once and checks everything this package promises:
// grammar (RFC 8259), UTF-8, depth, and unique names.
type scanner struct {
	lexer
	depth   int
	objects int // opened so far
	seen    names

	// member, if not nil, is called for each member of the outermost object.
	member func(name string, v Value) error
}

// document reads one value and nothing after it.
func (d *scanner) document() error {
	d.space()
	if err := d.value(); err != nil {
		return err
	}
	if d.space(); d.i != len(d.s) {
		return ErrSyntax
	}
	return nil
}

func (d *scanner) value() error {
	switch d.peek() {
	case '"':
		_, err := d.text()
		return err
	case '{':
		return d.object()
	case '[':
		return d.array()
	case 't':
		return d.word("true")
	case 'f':
		return d.word("false")
	case 'n':
		return d.word("null")
	}
	return d.number()
}

func (d *scanner) object() error {
	if err := d.enter(); err != nil {
		return err
	}
	d.objects++
	object := d.objects
	if d.take('}') {
		d.depth--
		return nil
	}
	for {
		if err := d.pair(object); err != nil {
			return err
		}
		switch {
		case d.take(','):
			d.space()
		case d.take('}'):
			d.depth--
			return nil
		default:
			return ErrSyntax
		}
	}
}

// pair reads a member of an object and the white space after it.
func (d *scanner) pair(object int) error {
	literal, err := d.text()
	if err != nil {
		return err
	}
	text, err := unquote(literal)
	if err != nil {
		return err
	}
	if !d.seen.add(name{object, text}) {
		return repeats(text)
	}
	if d.space(); !d.take(':') {
		return ErrSyntax
	}
	d.space()
	begin := d.i
	if err := d.value(); err != nil {
		return err
	}
	if d.member != nil && d.depth == 1 && object == 1 {
		if err := d.member(text, Value(d.s[begin:d.i])); err != nil {
			return err
		}
	}
	d.space()
	return nil
}

func (d *scanner) array() error {
	if err := d.enter(); err != nil {
		return err
	}
	if d.take(']') {
		d.depth--
		return nil
	}
	for {
		if err := d.value(); err != nil {
			return err
		}
		d.space()
		switch {
		case d.take(','):
			d.space()
		case d.take(']'):
			d.depth--
			return nil
		default:
			return ErrSyntax
		}
	}
}

// enter skips an opening bracket and the white space after it.
func (d *scanner) enter() error {
	if d.depth == MaxDepth {
		return ErrDepth
	}
	d.depth++
	d.i++
	d.space()
	return nil
}

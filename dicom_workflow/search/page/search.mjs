// node_modules/preact/dist/preact.mjs
var e, t, n, r, i, a, o, s, c, l, u, d = Symbol.for("pv"), f = {}, p = [], m = /^m(i|n|o|s|text|space)$/, h = Array.isArray, g = p.slice, _ = Object.assign;
function v(e) {
	e && e.parentNode && e.remove();
}
function y(n, r, i, a, o) {
	var s = {
		type: n,
		props: r,
		key: i,
		ref: a,
		__k: null,
		__: null,
		__b: 0,
		__e: null,
		__c: null,
		constructor: d,
		__v: o || ++t,
		__i: -1,
		__u: 0
	};
	return !o && e.vnode && e.vnode(s), s;
}
function b(e) {
	return e.children;
}
function x(e, t) {
	this.props = e, this.context = t, this.__g = 0;
}
function S(e, t) {
	if (t == null) return e.__ && S(e.__, e.__i + 1);
	for (var n; t < e.__k.length; t++) if ((n = e.__k[t]) && n.__e) return n.__e;
	return typeof e.type != "function" || e.props.__P ? null : S(e);
}
function C(t) {
	var n, r = t.__v, i = r.__e, a = [], o = [], s = t.__P;
	s && ((n = _({ constructor: d }, r)).__v = r.__v + 1, e.vnode && e.vnode(n), j(s, n, r, t.__n, s.namespaceURI, 32 & r.__u ? [i] : null, a, i || S(r), 32 & r.__u, o), n.__v = r.__v, n.__.__k[n.__i] = n, ae(a, n, o), r.__ = r.__e = null, n.__e != i && w(n));
}
function w(e) {
	if ((e = e.__) && e.__c && !e.props.__P) return e.__e = null, e.__k.some(function(t) {
		return t && (e.__e = t.__e);
	}), w(e);
}
function T(t) {
	(8 & t.__g || (t.__g |= 8, n.push(t), i++)) && r == e.debounceRendering || ((r = e.debounceRendering) || queueMicrotask)(E);
}
function E() {
	try {
		for (var e, t = 1; n.length;) n.length > t && n.sort(a), e = n.shift(), t = n.length, 8 & e.__g && C(e);
	} finally {
		(i = n.length) && (r || queueMicrotask)(E);
	}
}
function ee(e, t, n, r, i, a, o, s, c, l, u) {
	var d, m, h, g, _, v, y = r.__k || p, b = t.length;
	for (c = D(n, t, y, c, b), d = 0; d < b; d++) (h = n.__k[d]) != null && (m = ~h.__i && y[h.__i] || f, h.__i = d, v = j(e, h, m, i, a, o, s, c, l, u), g = h.__e, (m.ref != h.ref || 8 & m.__u) && (m.ref && M(m.ref, null, h, m), h.ref && u.push(h.ref, h.__c || g, h)), _ ||= g, 4 & h.__u ? (c = O(h, c, e, !m.__v), m.__e && (m.__e = null)) : typeof h.type == "function" && v !== void 0 ? c = v : g && (c = g.nextSibling), h.__u &= -21);
	return n.__e = _, c;
}
function D(e, t, n, r, i) {
	var a, o, s, c, l, u, f, p, m, g = n.length, _ = g, v = 0, x = 0, C = e.__k = Array(i);
	for (a = 0; a < i; a++) (o = t[a]) != null && typeof o != "boolean" && typeof o != "function" ? (typeof o != "object" || o.constructor === String ? o = C[a] = y(null, o) : h(o) ? o = C[a] = y(b, { children: o }) : o.constructor === d && o.__b ? o = C[a] = y(o.type, o.props, o.key, o.ref, o.__v) : C[a] = o, c = a + v, o.__ = e, o.__b = e.__b + 1, s = null, ~(l = o.__i = k(o, n, c, _)) && (_--, (s = n[l]) && (s.__u |= 2)), s && s.__v ? (o.__u |= 16, l == c - 1 ? v-- : l == c + 1 ? v++ : l != c && (l > c ? v-- : v++, x = 1)) : (~l || (i > g ? v-- : i < g && v++), typeof o.type != "function" && (o.__u |= 4))) : C[a] = null;
	if (x) {
		for (u = [], f = [], a = 0; a < i; a++) if ((o = C[a]) && 16 & o.__u) {
			for (v = 0, p = u.length; v < p;) u[m = v + p >> 1] < o.__i ? v = m + 1 : p = m;
			u[v] = o.__i, f[a] = v + 1;
		}
		for (v = u.length; a--;) f[a] && (f[a] == v ? v-- : C[a].__u |= 4);
	}
	if (_) for (a = 0; a < g; a++) !(s = n[a]) || 2 & s.__u || (s.__e == r && (r = S(s)), se(s, s));
	return r;
}
function O(e, t, n, r) {
	var i, a, o, s;
	if (typeof e.type == "function") {
		if (e.props.__P) return t;
		if (i = e.__k) for (a = 0; a < i.length; a++) i[a] && (i[a].__ = e, t = O(i[a], t, n, !1));
		return t;
	}
	for (t && !t.parentNode && (t = S(e)) && !t.parentNode && (t = null), o = e.__e, s = t; s && s.nodeType == 8;) s = s.nextSibling;
	for (o != s && (!r && n.moveBefore && o.parentNode ? n.moveBefore(o, t) : n.insertBefore(o, t || null)), t = o; (t &&= t.nextSibling) && t.nodeType == 8 && !t.data.startsWith("$s"););
	return t;
}
function k(e, t, n, r) {
	var i, a = e.key, o = e.type, s = t[n], c = s && !(2 & s.__u);
	if (s === null && a == null || c && a == s.key && o == s.type) return n;
	if (r > +!!c) {
		for (i = n - 1; i >= 0; i--) if ((s = t[i]) && !(2 & s.__u) && a == s.key && o == s.type) return i;
		for (i = n + 1; i < t.length; i++) if ((s = t[i]) && !(2 & s.__u) && a == s.key && o == s.type) return i;
	}
	return -1;
}
function te(e, t, n) {
	n ??= "", t[0] == "-" ? e.setProperty(t, n) : e[t] = n;
}
function A(e, t, n, r, i) {
	var a, o;
	if (t == "style") {
		if (typeof n == "string") e.style.cssText = n;
		else {
			if (typeof r == "string" && (e.style.cssText = r = ""), r) for (t in r) n && t in n || te(e.style, t);
			if (n) for (t in n) r && n[t] == r[t] || te(e.style, t, n[t]);
		}
	} else if (t[0] == "o" && t[1] == "n") typeof n != "function" && (n = null), typeof r != "function" && (r = null), (e.__e ||= {})[t] = n, n && r || (o = l[t] || (l[t] = ne(t)), (e.__a ||= {})[t] = c, a = t != (t = t.replace(s, "$1")), (t = t.slice(2))[0] < "a" && (t = t.toLowerCase()), n ? e.addEventListener(t, o, a) : e.removeEventListener(t, o, a));
	else {
		if (i == "http://www.w3.org/2000/svg") t = t.replace(/xlink(H|:h)/, "h").replace(/sName$/, "s");
		else if (t != "width" && t != "height" && t != "href" && t != "list" && t != "form" && t != "tabIndex" && t != "download" && t != "rowSpan" && t != "colSpan" && t != "role" && t != "popover" && t in e) try {
			e[t] = n ?? "";
			return;
		} catch {}
		if (typeof n == "function") return;
		n == null || !1 === n && t[4] != "-" ? e.removeAttribute(t) : e.setAttribute(t, t == "popover" && n == 1 ? "" : n);
	}
}
function ne(t) {
	return function(n) {
		var r = this.__e;
		if (r) {
			if (r = r[t], n[o] == null) n[o] = c++;
			else if (n[o] < this.__a[t]) return;
			return r(e.event ? e.event(n) : n);
		}
	};
}
function j(t, n, r, i, a, o, s, c, l, u) {
	var f, m, g, y, C, w, T, E, D, O, k, te, A, ne, j, ae, M, N, P = n.type;
	if (n.constructor !== d) return null;
	128 & r.__u && (l = 32 & r.__u, f = r.__c.__z) && (n.__u |= l, m = o = [], f.nodeType == 8 ? c = re(f, o) : o.push(f), c = o[0] || c), (f = e.__b) && f(n);
	n: if (typeof P == "function") {
		g = s.length;
		try {
			if (E = n.props, D = (f = P.prototype) && f.render, O = (f = P.contextType) && i[f.__c], k = f ? O ? O.props.value : f.__ : i, (y = r.__c) ? (n.__c = y, 2 & y.__g && (y.__g |= 1)) : (D ? n.__c = y = new P(E, k) : (n.__c = y = new x(E, k), y.constructor = P, y.render = ce), O && O.sub(y), y.state || (y.state = {}), y.__n = i, y.__g |= 8, y.__h = [], y.__k = []), D && (y.__s || (y.__s = y.state), P.getDerivedStateFromProps && (y.__s == y.state && (y.__s = _({}, y.__s)), _(y.__s, P.getDerivedStateFromProps(E, y.__s)))), C = y.props, w = y.state, y.__v = n, r.__c) {
				if (E !== C && D && !P.getDerivedStateFromProps && y.componentWillReceiveProps && y.componentWillReceiveProps(E, k), n.__v == r.__v && !(8 & y.__g) || !(4 & y.__g) && y.shouldComponentUpdate && !1 === y.shouldComponentUpdate(E, y.__s, k)) {
					n.__v != r.__v && (y.props = E, y.state = y.__s, y.__g &= -9), n.__e = r.__e, n.__k = r.__k, n.__k.some(function(e) {
						e && (e.__ = n);
					}), p.push.apply(y.__h, y.__k), y.__k = [], y.__h.length && s.push(y), c = S(r);
					break n;
				}
				y.componentWillUpdate && y.componentWillUpdate(E, y.__s, k), D && y.componentDidUpdate && y.__h.push(function() {
					y.componentDidUpdate(C, w, T);
				});
			} else D && !P.getDerivedStateFromProps && y.componentWillMount && y.componentWillMount(), D && y.componentDidMount && y.__h.push(y.componentDidMount);
			y.context = k, y.props = E, y.__P = t, y.__g &= -5, te = e.__r, A = D ? 25 : 0;
			do
				y.__g &= -9, te && te(n), f = y.render(y.props, y.state = y.__s, y.context);
			while (8 & y.__g && ++A < 25);
			D && (p.push.apply(y.__h, y.__k), y.__k = []), y.state = y.__s, y.getChildContext && (i = _({}, i, y.getChildContext())), D && r.__c && y.getSnapshotBeforeUpdate && (T = y.getSnapshotBeforeUpdate(C, w)), ne = f && f.type === b && f.key == null ? f.props.children : f, E.__P && (f = c, a = (t = E.__P).namespaceURI, l = o = null, r.props && r.props.__P != t && (r.__k.some(function(e) {
				e && se(e, e);
			}), r.__k = null), c = r.__k ? S(r, 0) : null), c = ee(t, h(ne) ? ne : [ne], n, r, i, a, o, s, c, l, u), E.__P && (n.__e = null, c = f), n.__u &= -161, m && m.some(v), y.__h.length && s.push(y), 1 & y.__g && (y.__g &= -4);
		} catch (t) {
			if (s.length = g, n.__v = null, l || o) {
				if (t && t.then) {
					if (n.__u |= 128 | l, o) {
						for (~(M = o.indexOf(c || void 0)) || (M = o.length); (N = o[M - 1]) && N.nodeType == 8;) M--;
						for (; M < o.length; M++) if (N = o[M]) {
							if (o[M] = null, j) {
								if (N == ae) break;
							} else {
								if (N.nodeType != 8) break;
								N.data.startsWith("$s") && (ae = re(j = N));
							}
						}
					}
					if (!j) {
						for (; c && c.nodeType == 8 && c.nextSibling;) c = c.nextSibling;
						j = c;
					}
					(f = re(j = n.__c.__z || (n.__c.__z = j))) ? (n.__e = j, c = f) : n.__e = c, c &&= c.nextSibling;
				} else o && o.some(v);
			} else n.__e = r.__e;
			n.__k ||= r.__k || [], t && t.then || ie(n), e.__e(t, n, r);
		}
	} else c = n.__e = oe(r.__e, n, r, i, a, o, s, l, u, t);
	return (f = e.diffed) && f(n), c;
}
function re(e, t) {
	if (e && e.nodeType == 8 && e.data.startsWith("$s")) for (var n = 1; e = e.nextSibling;) {
		if (e.nodeType == 8) {
			if (e.data.startsWith("$s")) n++;
			else if (e.data.startsWith("/$s") && !--n) return e;
		}
		t && t.push(e);
	}
}
function ie(e) {
	e && (e.__c && (e.__c.__g |= 4), e.__k && e.__k.some(ie));
}
function ae(t, n, r) {
	for (var i = 0; i < r.length;) M(r[i++], r[i++], r[i++]);
	e.__c && e.__c(n, t), t.some(function(n) {
		try {
			t = n.__h, n.__h = [], t.some(function(e) {
				e.call(n);
			});
		} catch (t) {
			e.__e(t, n.__v);
		}
	});
}
function oe(t, n, r, i, a, o, s, c, l, u) {
	var d, p, _, y, b, x, C, w, T = r.props || f, E = n.props, D = n.type;
	if (D == "svg" ? a = "http://www.w3.org/2000/svg" : D == "math" ? a = "http://www.w3.org/1998/Math/MathML" : a ||= "http://www.w3.org/1999/xhtml", o) {
		for (d = 0; d < o.length; d++) if ((b = o[d]) && (D ? b.localName == D : b.nodeType == 3)) {
			t = b, o[d] = null;
			break;
		}
	}
	if (!t) {
		if (w = u.ownerDocument || document, !D) return w.createTextNode(E);
		t = w.createElementNS(a, D, E.is ? E : u), c &&= (e.__m && e.__m(n, o), !1), o = null;
	}
	if (D) {
		if (u = D == "template" && t.content || t, o = D == "textarea" && E.defaultValue != null ? null : o && g.call(u.childNodes), !c && o) for (T = {}, d = 0; d < t.attributes.length; d++) T[(b = t.attributes[d]).name] = b.value;
		for (d in T) b = T[d], d == "dangerouslySetInnerHTML" ? _ = b : d == "children" || d in E || d == "value" && "defaultValue" in E || d == "checked" && "defaultChecked" in E || A(t, d, null, b, a);
		for (d in E) b = E[d], d == "children" ? y = b : d == "dangerouslySetInnerHTML" ? p = b : d == "value" ? x = b : d == "checked" ? C = b : c && typeof b != "function" || T[d] === b || A(t, d, b, T[d], a);
		p ? (c || _ && (p.__html == _.__html || p.__html == t.innerHTML) || (t.innerHTML = p.__html), n.__k = []) : (_ && (t.textContent = ""), (D == "foreignObject" || a == "http://www.w3.org/1998/Math/MathML" && m.test(D)) && (a = "http://www.w3.org/1999/xhtml"), ee(u, h(y) ? y : [y], n, r, i, a, o, s, o ? o[0] : r.__k && S(r, 0), c, l), o && o.some(v)), c && D != "textarea" || (d = "value", D == "progress" && x == null ? t.removeAttribute(d) : x == null || x === t[d] && (D != "progress" || x) || A(t, d, x, T[d], a), d = "checked", C != null && C != t[d] && A(t, d, C, T[d], a));
	} else T === E || c && t.data == E || (t.data = E);
	return t;
}
function M(t, n, r, i) {
	try {
		typeof t == "function" ? n ? n.__x = t(n) || 1 : (i &&= i.__c || i.__e) && (n = i.__x) && (i.__x = null, typeof n == "function" ? n() : t(null)) : t.current = n;
	} catch (t) {
		e.__e(t, r);
	}
}
function se(t, n, r) {
	var i, a, o, s;
	if (e.unmount && e.unmount(t), !(i = t.ref) || i.current && i.current != t.__e || M(i, null, n, t), i = t.__c) {
		if (i.componentWillUnmount) try {
			i.componentWillUnmount();
		} catch (t) {
			e.__e(t, n);
		}
		i.__P = i.__n = null;
	}
	if (i = t.__k) for (s = 0; s < i.length; s++) i[s] && se(i[s], n, typeof t.type != "function" || r && !t.props.__P);
	!r && (i = t.__c) && (i = i.__z) && (a = re(i, o = [])) && (i == t.__e && o.some(v), v(a), v(i)), r || v(t.__e), t.__e = t.__c = t.__ = null;
}
function ce(e, t, n) {
	return this.constructor(e, n);
}
function N(t, n) {
	var r, i, a, o;
	e.__ && e.__(t, n), n.nodeType == 9 && (n = n.documentElement), i = (r = t && 32 & t.__u) ? null : n.__k, n.__k = y(b, { children: [t] }), a = [], o = [], j(n, n.__k, i || f, f, n.namespaceURI, i ? null : n.firstChild ? g.call(n.childNodes) : null, a, i ? i.__e : n.firstChild, r, o), ae(a, n.__k, o), n.__k.props.children = null;
}
function P(e) {
	function t(e) {
		var n, r;
		return this.getChildContext || (n = /* @__PURE__ */ new Set(), (r = {})[t.__c] = this, this.getChildContext = function() {
			return r;
		}, this.shouldComponentUpdate = function(e) {
			this.props.value != e.value && n.forEach(function(e) {
				e.__g |= 4, T(e);
			});
		}, this.sub = function(e) {
			n.add(e);
			var t = e.componentWillUnmount;
			e.componentWillUnmount = function() {
				n.delete(e), t && t.call(e);
			};
		}), e.children;
	}
	return t.__c = "__cC" + u++, t.__ = e, t.Provider = (t.Consumer = function(e, t) {
		return e.children(t);
	}).contextType = t, t;
}
e = { __e: function(e, t, n, r) {
	for (var a, o, s; t = t.__;) if ((a = t.__c) && !(1 & a.__g)) {
		a.__g |= 4;
		try {
			if ((s = (o = a.constructor) && o.getDerivedStateFromError) && a.setState(o.getDerivedStateFromError(e)), a.componentDidCatch && (a.componentDidCatch(e, r || {}), s = 1), s && 8 & a.__g) return void (a.__g |= 2);
		} catch (t) {
			e = t;
		}
	}
	throw i = 0, e;
} }, t = 0, x.prototype.setState = function(e, t) {
	var n = this.__s;
	n && n != this.state || (n = this.__s = _({}, this.state)), typeof e == "function" && (e = e(_({}, n), this.props)), e && (_(n, e), this.__v && (t && this.__k.push(t), T(this)));
}, x.prototype.forceUpdate = function(e) {
	this.__v && (this.__g |= 4, e && this.__h.push(e), T(this));
}, x.prototype.render = b, n = [], i = 0, a = function(e, t) {
	return e.__v.__b - t.__v.__b;
}, o = Symbol(), s = /(PointerCapture)$|Capture$/i, c = 0, l = {}, u = 0;
// node_modules/preact/hooks/dist/hooks.mjs
var F, I, le, ue, de = Object.is, fe = 0, pe = [], me = [], L = e, he = L.__b, ge = L.__r, _e = L.diffed, ve = L.__c, ye = L.unmount, be = L.__;
function R(e, t) {
	L.__h && L.__h(I, e, fe || t), fe = 0;
	var n = I.__H || (I.__H = {
		__: [],
		__h: []
	});
	return e >= n.__.length && n.__.push({}), n.__[e];
}
function z(e) {
	return fe = 1, xe(Ne, e);
}
function xe(e, t, n) {
	var r = R(F++, 2);
	if (r.t = e, !r.__c && (r.__ = [n ? n(t) : Ne(void 0, t), function(e) {
		var t = (r.__N || r.__)[0], n = r.t(t, e);
		de(t, n) || (r.__N = [n, r.__[1]], r.__c.setState({}));
	}], r.__c = I, !I.__f)) {
		I.__f = !0;
		var i = I.shouldComponentUpdate;
		I.shouldComponentUpdate = function(e, t, n) {
			var r = this.__H;
			if (!r) return !0;
			var a = !1, o = this.props != e;
			if (r.__.some(function(e) {
				e.__N && (a = !0, de(e.__[0], e.__N[0]) || (o = !0));
			}), i) {
				var s = i.call(this, e, t, n);
				return a ? s || o : s;
			}
			return !a || o;
		};
	}
	return r.__;
}
function B(e, t) {
	var n = R(F++, 3);
	!L.__s && Me(n.__H, t) && (n.__P = !0, n.__ = e, n.u = t, I.__H.__h.push(n));
}
function Se(e, t) {
	var n = R(F++, 4);
	!L.__s && Me(n.__H, t) && (n.__P = !1, n.__ = e, n.u = t, I.__h.push(n));
}
function V(e) {
	return fe = 5, Ce(function() {
		return { current: e };
	}, []);
}
function Ce(e, t) {
	var n = R(F++, 7);
	return Me(n.__H, t) && (n.__ = e(), n.__H = t), n.__;
}
function we(e) {
	var t = I.context[e.__c], n = R(F++, 9);
	return n.c = e, t ? (n.__ ?? (n.__ = !0, t.sub(I)), t.props.value) : e.__;
}
function Te() {
	var e = R(F++, 11);
	if (!e.__) {
		for (var t = I.__v; !t.__m && t.__;) t = t.__;
		var n = t.__m || (t.__m = [0, 0]);
		e.__ = "P" + n[0] + "-" + n[1]++;
	}
	return e.__;
}
function Ee() {
	var e;
	do {
		for (; e = me.shift();) try {
			Ae(e);
		} catch (t) {
			L.__e(t, { __: (e = e.__P) && e.__v });
		}
		for (; e = pe.shift();) {
			var t = e.__H;
			if (e.__P && t) try {
				t.__h.some(Ae), t.__h.some(je), t.__h = [];
			} catch (n) {
				t.__h = [], L.__e(n, e.__v);
			}
		}
	} while (me.length);
}
L.__b = function(e) {
	I = null, he && he(e);
}, L.__ = function(e, t) {
	e && t.__k && t.__k.__m && (e.__m = t.__k.__m), be && be(e, t);
}, L.__r = function(e) {
	ge && ge(e), F = 0;
	var t = (I = e.__c).__H;
	t && (le == I ? I.__h = [] : (t.__h.some(Ae), t.__h.some(je), F = 0), t.__h = [], t.__.some(function(e) {
		e.__N && (e.__ = e.__N), e.u = e.__N = void 0;
	})), le = I;
}, L.diffed = function(e) {
	_e && _e(e);
	var t = e.__c;
	t && t.__H && (t.__H.__h.length && ke(pe.push(t)), t.__H.__.some(function(e) {
		e.u && (e.__H = e.u);
	})), le = I = null;
}, L.__c = function(e, t) {
	t.some(function(e) {
		try {
			e.__h.some(Ae), e.__h = e.__h.filter(function(e) {
				return !e.__ || je(e);
			});
		} catch (t) {
			e.__h = [function() {
				throw t;
			}];
		}
	}), ve && ve(e, t);
}, L.unmount = function(e) {
	ye && ye(e);
	var t, n, r = e.__c;
	r && r.__H && (r.__H.__.some(function(r) {
		try {
			if (r.__P && r.__c) {
				if (n === void 0) {
					for (n = e.__; n && (!n.__c || !n.__c.__P);) n = n.__;
					n &&= n.__c;
				}
				r.__P = n, ke(me.push(r));
			} else Ae(r);
		} catch (e) {
			t = e;
		}
	}), r.__H = void 0, t && L.__e(t, r.__v));
};
var De = typeof requestAnimationFrame == "function";
function Oe(e) {
	var t, n = function() {
		clearTimeout(r), De && cancelAnimationFrame(t), setTimeout(e);
	}, r = setTimeout(n, 35);
	De && (t = requestAnimationFrame(n));
}
function ke(e) {
	e != 1 && ue == L.requestAnimationFrame || ((ue = L.requestAnimationFrame) || Oe)(Ee);
}
function Ae(e) {
	var t = I, n = e.__c;
	typeof n == "function" && (e.__c = void 0, n()), I = t;
}
function je(e) {
	var t = I;
	e.__c = e.__(), I = t;
}
function Me(e, t) {
	return !e || e.length != t.length || t.some(function(t, n) {
		return !de(t, e[n]);
	});
}
function Ne(e, t) {
	return typeof t == "function" ? t(e) : t;
}
// shared/json.ts
var Pe = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
function Fe(e) {
	return e.replace(Pe, "�");
}
function H(e) {
	return typeof e == "object" && !!e && !Array.isArray(e);
}
function U(e, t) {
	return H(e) && Object.hasOwn(e, t) ? e[t] : void 0;
}
function W(e) {
	return typeof e == "string" ? Fe(e) : "";
}
// search/state/places.ts
var G = {
	kind: "reports",
	text: "",
	chosen: [],
	like: "",
	cursors: []
};
function Ie(e) {
	return {
		kind: "image",
		id: e,
		text: "",
		sameView: !1,
		samePatient: !1,
		chosen: [],
		like: [],
		unlike: []
	};
}
function Le(e) {
	return e.kind === "image" ? `#/image/${encodeURIComponent(e.id)}` : e.like ? `#/like/${encodeURIComponent(e.like)}` : "#/";
}
function Re(e) {
	let t = /^#\/(image|like)\/([^/?#]{1,600})$/.exec(e);
	if (!t?.[2]) return G;
	let n;
	try {
		n = decodeURIComponent(t[2]);
	} catch {
		return G;
	}
	return t[1] === "image" ? Ie(n) : {
		...G,
		like: n
	};
}
function ze(e) {
	if (!H(e)) return null;
	if (e.kind === "reports") {
		let { like: t, cursors: n, chosen: r } = e;
		return {
			kind: "reports",
			text: W(e.text),
			like: W(t),
			cursors: Ue(n),
			chosen: We(r)
		};
	}
	return e.kind !== "image" || W(e.id) === "" ? null : {
		kind: "image",
		id: W(e.id),
		text: W(e.text),
		sameView: e.sameView === !0,
		samePatient: e.samePatient === !0,
		chosen: We(e.chosen),
		like: Ue(e.like),
		unlike: Ue(e.unlike)
	};
}
function Be(e, t) {
	let n = e.filter(({ field: e, value: n }) => e !== t.field || n !== t.value);
	return n.length < e.length ? n : [...e, t];
}
function Ve(e, t, n) {
	return e.some((e) => e.field === t && e.value === n);
}
function He(e) {
	return e.length === 0 ? null : { and: e.map(({ field: e, value: t }) => ({ [e]: [t] })) };
}
function Ue(e) {
	return Array.isArray(e) ? e.filter((e) => typeof e == "string") : [];
}
function We(e) {
	return (Array.isArray(e) ? e.filter(H) : []).map((e) => ({
		field: W(e.field),
		value: W(e.value)
	})).filter(({ field: e }) => e !== "");
}
// node_modules/preact/jsx-runtime/dist/jsxRuntime.mjs
var Ge = Symbol.for("pv"), Ke = 0;
Array.isArray;
function K(t, n, r, i, a, o) {
	n ||= {};
	var s, c, l = n;
	if ("ref" in l && typeof t != "function") for (c in l = {}, n) c == "ref" ? s = n[c] : l[c] = n[c];
	var u = {
		type: t,
		props: l,
		key: r,
		ref: s,
		__k: null,
		__: null,
		__b: 0,
		__e: null,
		__c: null,
		constructor: Ge,
		__v: --Ke,
		__i: -1,
		__u: 0
	};
	return (a || o) && (u.__source = a, u.__self = o), e.vnode && e.vnode(u), u;
}
// search/parts/states.tsx
var qe = [
	"positive",
	"uncertain",
	"negative"
], Je = {
	positive: {
		title: "Positive",
		word: "stated as present"
	},
	uncertain: {
		title: "Uncertain",
		word: "stated as uncertain"
	},
	negative: {
		title: "Negative",
		word: "stated as absent"
	}
};
function q(e) {
	return qe.includes(e);
}
function Ye({ state: e }) {
	return /* @__PURE__ */ K("svg", {
		class: `state-icon ${e}`,
		viewBox: "0 0 16 16",
		"aria-hidden": "true",
		focusable: "false",
		children: [
			e === "positive" && /* @__PURE__ */ K("circle", {
				class: "fill",
				cx: "8",
				cy: "8",
				r: "7"
			}),
			e === "positive" && /* @__PURE__ */ K("path", {
				class: "sign-on",
				d: "M8 4.5v7M4.5 8h7"
			}),
			e === "uncertain" && /* @__PURE__ */ K("circle", {
				class: "ring",
				cx: "8",
				cy: "8",
				r: "6.2"
			}),
			e === "uncertain" && /* @__PURE__ */ K("path", {
				class: "fill",
				d: "M8 1.8a6.2 6.2 0 0 0 0 12.4z"
			}),
			e === "negative" && /* @__PURE__ */ K("circle", {
				class: "ring",
				cx: "8",
				cy: "8",
				r: "6.2"
			}),
			e === "negative" && /* @__PURE__ */ K("path", {
				class: "sign",
				d: "M4.8 8h6.4"
			})
		]
	});
}
// search/api/fields.ts
var Xe = [
	{
		name: "labels",
		title: "Labels"
	},
	{
		name: "diagnoses",
		title: "Diagnoses"
	},
	{
		name: "signs",
		title: "Signs"
	},
	{
		name: "symptoms",
		title: "Symptoms"
	},
	{
		name: "codes",
		title: "ICD-10-CM"
	}
];
function Ze(e) {
	return Xe.some(({ name: t }) => t === e);
}
function Qe(e) {
	return qe.map((t) => `${t}_${e}`);
}
var $e = [
	"labels_positive",
	"labels_uncertain",
	"labels_negative",
	"view_position",
	"sex"
], et = {
	view_position: "View",
	sex: "Sex",
	modality: "Modality",
	body_part: "Body part"
};
function tt(e) {
	let [t = "", n = ""] = e.split("_"), r = q(t) ? t : q(n) ? n : null, i = Object.hasOwn(et, e) ? et[e] : void 0;
	return {
		title: r ? `${r.charAt(0).toUpperCase()}${r.slice(1)}` : i ?? e.replaceAll("_", " "),
		state: r
	};
}
// search/api/read.ts
function nt(e) {
	let t = U(e, "reports"), n = U(t, "pageInfo");
	return {
		total: Y(U(t, "totalCount")),
		cursor: U(n, "hasNextPage") === !0 ? W(U(n, "endCursor")) : "",
		reports: J(U(t, "edges")).map((e) => dt(U(e, "node"), Y(U(e, "score")), J(U(e, "highlights")).map(pt))),
		facets: J(U(t, "facets")).map(gt)
	};
}
function rt(e) {
	let t = U(e, "image");
	if (!H(t)) return null;
	let n = U(t, "report");
	return {
		image: ht(t),
		report: H(n) ? dt(n, 0, []) : null,
		similar: st(U(t, "similar"))
	};
}
function it(e) {
	let t = rt(e), n = U(e, "cases"), r = J(U(n, "hits")).flatMap((e) => {
		let t = J(U(e, "images"))[0], n = J(U(e, "highlights")).map((e) => W(U(e, "sentence")))[0];
		return t ? [{
			...ct(t),
			impression: ut(U(e, "report")),
			sentence: n ?? ""
		}] : [];
	}), i = J(U(n, "facets")).map(gt).map((e) => ({
		...e,
		field: e.field.split("_").reverse().join("_")
	}));
	return t && {
		...t,
		similar: {
			exact: U(n, "exact") === !0,
			hits: r,
			facets: i
		}
	};
}
function at(e) {
	return {
		reports: Y(U(U(e, "reports"), "totalCount")),
		acceptsUploads: U(U(e, "index"), "acceptsUploads") === !0,
		explains: U(U(e, "index"), "explains") === !0
	};
}
function ot(e) {
	let t = U(U(e, "image"), "similarityMap"), [n, r] = [Y(U(t, "rows")), Y(U(t, "columns"))], i = U(t, "values"), a = (Array.isArray(i) ? i : []).map(Y);
	return n > 0 && a.length === n * r ? {
		rows: n,
		columns: r,
		values: a
	} : null;
}
function st(e) {
	return {
		exact: U(e, "exact") === !0,
		hits: J(U(e, "hits")).map(ct),
		facets: J(U(e, "imageFacets")).map(gt)
	};
}
function ct(e) {
	let t = U(e, "image"), n = (e) => J(U(t, e)).map((t) => lt(t, e));
	return {
		image: ht(t),
		score: Y(U(e, "score")),
		impression: ut(U(t, "report")),
		sentence: "",
		studies: [...n("earlier").reverse(), ...n("later")]
	};
}
function lt(e, t) {
	let n = U(e, "days");
	return {
		when: t,
		date: W(U(e, "studyDate")),
		days: typeof n == "number" ? Math.abs(n) : null,
		impression: ut(U(e, "report")),
		imageIds: J(U(e, "images")).map((e) => W(U(e, "id")))
	};
}
function ut(e) {
	return J(U(e, "sections")).map((e) => W(U(e, "text")))[0] ?? "";
}
function dt(e, t, n) {
	return {
		id: W(U(e, "id")),
		studyDate: W(U(e, "studyDate")),
		sections: J(U(e, "sections")).map((e) => ft(e, n)),
		findings: J(U(e, "findings")).map(mt),
		images: J(U(e, "images")).map(ht),
		score: t
	};
}
function ft(e, t) {
	let n = U(e, "begin"), r = W(U(e, "text")), i = typeof n == "number" ? n : null, a = i === null ? [] : t.map((e) => ({
		begin: e.begin - i,
		end: e.end - i
	})), o = Array.from(r).length;
	return {
		name: W(U(e, "name")),
		text: r,
		marks: a.filter((e) => e.end > 0 && e.begin < o)
	};
}
function pt(e) {
	return {
		begin: Y(U(e, "sentenceBegin")),
		end: Y(U(e, "sentenceEnd"))
	};
}
function mt(e) {
	let t = (t) => W(U(e, t));
	return {
		concept: t("concept"),
		state: t("state"),
		kind: t("kind"),
		code: t("code"),
		codeText: t("codeText"),
		section: t("section"),
		laterality: t("laterality"),
		sentence: t("sentence")
	};
}
function ht(e) {
	let t = (t) => W(U(e, t));
	return {
		id: t("id"),
		uploaded: U(e, "uploaded") === !0,
		reportId: t("reportId"),
		studyDate: t("studyDate"),
		modality: t("modality"),
		viewPosition: t("viewPosition"),
		bodyPart: t("bodyPart"),
		laterality: t("laterality"),
		sex: t("sex"),
		rows: Y(U(e, "rows")),
		columns: Y(U(e, "columns")),
		positive: _t(U(e, "labelsPositive")),
		uncertain: _t(U(e, "labelsUncertain"))
	};
}
function gt(e) {
	let t = J(U(e, "values")).map((e) => {
		let t = W(U(e, "text")), n = W(U(e, "value"));
		return {
			value: n,
			name: t || n,
			count: Y(U(e, "count"))
		};
	});
	return {
		field: W(U(e, "field")),
		buckets: t,
		exact: U(e, "exact") !== !1
	};
}
function J(e) {
	return Array.isArray(e) ? e.filter(H) : [];
}
function _t(e) {
	return Array.isArray(e) ? e.map(W).filter((e) => e !== "") : [];
}
function Y(e) {
	return typeof e == "number" && Number.isFinite(e) ? e : 0;
}
var vt = 50, X = "id uploaded reportId studyDate modality viewPosition bodyPart laterality sex rows columns\n  labelsPositive labelsUncertain labelsNegative", yt = "id studyDate sections { name text begin }\n  findings { concept state kind code codeText section laterality sentence }", bt = "studyDate days images { id } report { sections(name: \"impression\") { text } }", xt = `query Reports($text: String!, $where: Where, $like: ID, $first: Int!, $after: String, $fields: [String!]!,
    $values: Int!) {
  reports(text: $text, where: $where, like: $like, first: $first, after: $after) {
    totalCount
    pageInfo { endCursor hasNextPage }
    edges { score highlights { begin end sentenceBegin sentenceEnd } node { ${yt} images { ${X} } } }
    facets(fields: $fields, size: $values) { field exact values { value text count } }
  }
}`, St = `query Image($id: ID!, $k: Int!, $where: Where, $excludePatient: Boolean!, $like: [ID!], $unlike: [ID!],
    $fields: [String!]!, $values: Int!) {
  image(id: $id) {
    ${X}
    report { ${yt} images { ${X} } }
    similar(k: $k, where: $where, excludePatient: $excludePatient, like: $like, unlike: $unlike) {
      exact
      hits {
        score
        image { ${X} report { sections(name: "impression") { text } } earlier { ${bt} } later { ${bt} } }
      }
      imageFacets(fields: $fields, size: $values) { field exact values { value text count } }
    }
  }
}`, Ct = `query Cases($id: ID!, $text: String!, $k: Int!, $where: Where, $excludePatient: Boolean!, $fields: [String!]!,
    $values: Int!) {
  image(id: $id) { ${X} report { ${yt} images { ${X} } } }
  cases(text: $text, imageId: $id, first: $k, where: $where, excludePatient: $excludePatient) {
    exact
    hits {
      report { sections(name: "impression") { text } }
      highlights { sentence }
      images { score image { ${X} earlier { ${bt} } later { ${bt} } } }
    }
    facets(fields: $fields, size: $values) { field exact values { value text count } }
  }
}`, wt = "{ reports(first: 1) { totalCount } index { acceptsUploads explains } }", Tt = "query Map($id: ID!, $to: ID!) { image(id: $id) { similarityMap(to: $to) { rows columns values } } }";
async function Et(e, { text: t, chosen: n, like: r, cursors: i }, a, o) {
	let s = {
		text: t,
		where: He(n),
		like: r || null,
		first: 20,
		after: i.at(-1) ?? null,
		fields: Qe(a),
		values: vt
	};
	return nt(await e.graphql(xt, s, o));
}
async function Dt(e, t, n, r) {
	let i = t.sameView && n ? [...t.chosen, {
		field: "view_position",
		value: n
	}] : t.chosen, a = {
		id: t.id,
		k: 30,
		where: He(i),
		excludePatient: !t.samePatient,
		values: vt
	};
	if (t.text !== "") {
		let n = {
			...a,
			text: t.text,
			fields: Qe("labels")
		};
		return it(await e.graphql(Ct, n, r));
	}
	let o = {
		...a,
		like: t.like,
		unlike: t.unlike,
		fields: $e
	};
	return rt(await e.graphql(St, o, r));
}
async function Ot(e, t) {
	return at(await e.graphql(wt, {}, t));
}
async function kt(e, t, n, r) {
	return ot(await e.graphql(Tt, {
		id: t,
		to: n
	}, r));
}
// search/parts/finding-columns.tsx
var At = [
	{
		kind: "sign",
		title: "Signs"
	},
	{
		kind: "diagnosis",
		title: "Diagnoses"
	},
	{
		kind: "symptom",
		title: "Symptoms"
	}
], jt = {
	left: "left",
	right: "right",
	bilateral: "both sides"
};
function Mt({ findings: e, id: t }) {
	let [n, r] = z(null), i = Ft(e);
	if (i.length === 0) return /* @__PURE__ */ K("p", {
		class: "quiet",
		children: "No finding was read out of this report."
	});
	let a = `${t}-evidence`;
	return /* @__PURE__ */ K("div", {
		class: "findings",
		children: [/* @__PURE__ */ K("div", {
			class: "columns",
			children: At.map(({ kind: e, title: t }) => {
				let o = i.filter((t) => t.kind === e);
				return /* @__PURE__ */ K("section", {
					"aria-label": t,
					children: [
						/* @__PURE__ */ K("h4", { children: t }),
						o.length === 0 && /* @__PURE__ */ K("p", {
							class: "quiet",
							children: "none"
						}),
						/* @__PURE__ */ K("ul", { children: o.map((e) => /* @__PURE__ */ K("li", { children: /* @__PURE__ */ K(Nt, {
							finding: e,
							open: e === n,
							controls: a,
							onOpen: () => r(e === n ? null : e)
						}) }, `${e.state} ${e.concept} ${e.laterality}`)) })
					]
				}, e);
			})
		}), /* @__PURE__ */ K("div", {
			id: a,
			class: "evidence",
			role: "status",
			children: n && i.includes(n) && /* @__PURE__ */ K(Pt, { finding: n })
		})]
	});
}
function Nt({ finding: { concept: e, state: t, laterality: n }, open: r, controls: i, onOpen: a }) {
	if (!q(t)) return null;
	let o = jt[n];
	return /* @__PURE__ */ K("button", {
		type: "button",
		class: `finding ${t}`,
		"aria-expanded": r,
		"aria-controls": i,
		onClick: a,
		children: [/* @__PURE__ */ K(Ye, { state: t }), /* @__PURE__ */ K("span", { children: [
			e,
			o && /* @__PURE__ */ K("span", {
				class: "quiet",
				children: [" ", o]
			}),
			/* @__PURE__ */ K("span", {
				class: "unseen",
				children: [", ", Je[t].word]
			})
		] })]
	});
}
function Pt({ finding: e }) {
	let { concept: t, state: n, sentence: r, section: i, code: a, codeText: o } = e;
	return /* @__PURE__ */ K(b, { children: [/* @__PURE__ */ K("q", { children: r }), /* @__PURE__ */ K("p", {
		class: "quiet",
		children: [
			t,
			q(n) ? Je[n].word : n,
			i && `in ${i}`,
			[a, o].filter(Boolean).join(" ")
		].filter(Boolean).join(" · ")
	})] });
}
function Ft(e) {
	let t = /* @__PURE__ */ new Map();
	for (let n of e) {
		let e = `${n.state} ${n.concept} ${n.laterality}`;
		q(n.state) && !t.has(e) && t.set(e, n);
	}
	return qe.flatMap((e) => [...t.values()].filter((t) => t.state === e));
}
// search/parts/host.ts
var It = P(null), Lt = It.Provider;
function Z() {
	let e = we(It);
	if (!e) throw Error("A part of the search page stands outside of HostProvider.");
	return e;
}
function Rt() {
	let { navigation: e } = Z(), [, t] = xe((e) => e + 1, 0);
	return B(() => e.subscribe(() => t(void 0)), [e]), e.place;
}
// search/transport/transport.ts
var zt = {
	signedIn: !0,
	needed: !1,
	name: "",
	at: "",
	problem: ""
}, Bt = 1024, Q = class extends Error {
	denied;
	constructor(e, t = !1) {
		super(e), this.name = "ServiceError", this.denied = t;
	}
}, Vt = 400;
function Ht(e) {
	if (typeof e != "object" || !e) throw new Q("The search service did not answer with JSON.");
	let { data: t, errors: n } = e;
	if (Array.isArray(n) && n.length > 0) throw new Q(n.map((e) => String(e?.message ?? "unknown error")).join(" ").slice(0, Vt));
	return t;
}
function Ut(e) {
	let { id: t, error: n, detail: r } = e ?? {};
	if (typeof t == "string" && t !== "") return t;
	let i = [n, r].find((e) => typeof e == "string" && e !== "");
	throw new Q(String(i ?? "The image could not be searched by.").slice(0, Vt));
}
function Wt(e) {
	return e instanceof DOMException && e.name === "AbortError";
}
// search/parts/picture.tsx
function Gt({ id: e, alt: t }) {
	let { pictures: n } = Z(), r = V(null), [i, a] = z(""), [o, s] = z(!1);
	return B(() => {
		let t = !1;
		a(""), s(!1);
		let i = Kt(r.current, () => {
			n.address(e, "thumbnail").then((e) => !t && a(e), (e) => !t && !Wt(e) && s(!0));
		});
		return () => {
			t = !0, i();
		};
	}, [e, n]), /* @__PURE__ */ K("span", {
		ref: r,
		class: "thumbnail",
		children: i ? /* @__PURE__ */ K("img", {
			src: i,
			alt: t,
			draggable: !1,
			onError: () => s(!0)
		}) : /* @__PURE__ */ K("span", {
			class: "no-picture",
			role: "img",
			"aria-label": t,
			children: o ? "no picture" : ""
		})
	});
}
function Kt(e, t) {
	if (!e || typeof IntersectionObserver > "u") return t(), () => void 0;
	let n = new IntersectionObserver((e) => {
		e.some((e) => e.isIntersecting) && (n.disconnect(), t());
	}, { rootMargin: "300px" });
	return n.observe(e), () => n.disconnect();
}
// search/parts/image-link.tsx
function qt({ image: e, children: t }) {
	let { navigation: n } = Z(), r = Ie(e.id);
	return /* @__PURE__ */ K("figure", {
		class: "image-link",
		children: [
			/* @__PURE__ */ K("a", {
				href: Le(r),
				onClick: (e) => {
					e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0 || (e.preventDefault(), n.go(r));
				},
				children: /* @__PURE__ */ K(Gt, {
					id: e.id,
					alt: Yt(e)
				})
			}),
			/* @__PURE__ */ K(Jt, { id: e.id }),
			t
		]
	});
}
function Jt({ id: e }) {
	let { selection: t } = Z(), [, n] = xe((e) => e + 1, 0);
	return B(() => t.subscribe(() => n(void 0)), [t]), /* @__PURE__ */ K("label", {
		class: "select",
		title: "Select this image",
		children: [/* @__PURE__ */ K("input", {
			type: "checkbox",
			checked: t.has(e),
			onChange: () => t.toggle(e)
		}), /* @__PURE__ */ K("span", {
			class: "unseen",
			children: "Select this image"
		})]
	});
}
function Yt({ modality: e, bodyPart: t, viewPosition: n, studyDate: r, positive: i }) {
	let a = [
		e,
		t.toLowerCase(),
		n && `view ${n}`,
		$(r)
	].filter(Boolean).join(", ");
	return `Image${a && `: ${a}`}${i.length ? `; reported: ${i.join(", ")}` : ""}`;
}
function $(e) {
	return /^\d{8}$/.test(e) ? `${e.slice(0, 4)}-${e.slice(4, 6)}-${e.slice(6)}` : e;
}
// search/parts/offsets.ts
function Xt(e, t) {
	let n = Array.from(e), r = [], i = 0;
	for (let { begin: e, end: a } of Zt(t, n.length)) e > i && r.push({
		text: n.slice(i, e).join(""),
		marked: !1
	}), r.push({
		text: n.slice(e, a).join(""),
		marked: !0
	}), i = a;
	return i < n.length && r.push({
		text: n.slice(i).join(""),
		marked: !1
	}), r;
}
function Zt(e, t) {
	let n = e.map(({ begin: e, end: n }) => ({
		begin: Math.max(0, Math.trunc(e)),
		end: Math.min(t, Math.trunc(n))
	})).filter(({ begin: e, end: t }) => e < t).sort((e, t) => e.begin - t.begin), r = [];
	for (let e of n) {
		let t = r.at(-1);
		t && e.begin <= t.end ? r[r.length - 1] = {
			begin: t.begin,
			end: Math.max(t.end, e.end)
		} : r.push(e);
	}
	return r;
}
// search/parts/highlighted.tsx
function Qt({ text: e, marks: t }) {
	return /* @__PURE__ */ K(b, { children: Xt(e, t).map(({ text: e, marked: t }, n) => K(t ? "mark" : "span", { children: e }, n)) });
}
// search/reports/report-card.tsx
var $t = {
	findings: "Findings",
	impression: "Impression"
};
function en({ report: e, onLike: t }) {
	let n = Te(), r = nn(e.sections), i = e.sections.filter((e) => e !== r);
	return /* @__PURE__ */ K("article", {
		class: "report",
		"aria-labelledby": n,
		children: [/* @__PURE__ */ K("header", { children: [/* @__PURE__ */ K("h3", {
			id: n,
			children: [
				$(e.studyDate) || "Undated study",
				" ",
				/* @__PURE__ */ K("span", {
					class: "quiet report-id",
					children: e.id
				})
			]
		}), /* @__PURE__ */ K("button", {
			type: "button",
			class: "plain",
			onClick: () => t(e.id),
			children: "Similar reports"
		})] }), /* @__PURE__ */ K("div", {
			class: "report-body",
			children: [e.images.length > 0 && /* @__PURE__ */ K("div", {
				class: "report-images",
				children: e.images.map((e) => /* @__PURE__ */ K(qt, {
					image: e,
					children: e.viewPosition && /* @__PURE__ */ K("figcaption", { children: e.viewPosition })
				}, e.id))
			}), /* @__PURE__ */ K("div", {
				class: "report-text",
				children: [
					r && /* @__PURE__ */ K(tn, { section: r }),
					i.length > 0 && /* @__PURE__ */ K("details", {
						open: i.some(({ marks: e }) => e.length > 0),
						children: [/* @__PURE__ */ K("summary", { children: "Whole report" }), i.map((e) => /* @__PURE__ */ K(tn, { section: e }, e.name))]
					}),
					/* @__PURE__ */ K(Mt, {
						findings: e.findings,
						id: n
					})
				]
			})]
		})]
	});
}
function tn({ section: { name: e, text: t, marks: n } }) {
	return /* @__PURE__ */ K("div", {
		class: "section",
		children: [/* @__PURE__ */ K("h4", { children: $t[e] ?? `${e.charAt(0).toUpperCase()}${e.slice(1)}` }), /* @__PURE__ */ K("p", { children: /* @__PURE__ */ K(Qt, {
			text: t,
			marks: n
		}) })]
	});
}
function nn(e) {
	let t = (t) => e.find((e) => e.name === t && e.text.trim() !== "");
	return t("impression") ?? t("findings") ?? e[0];
}
// search/state/use-query.ts
var rn = 250;
function an(e, t, n = !1) {
	let [r, i] = z({
		data: null,
		busy: e !== "",
		error: null
	}), [a, o] = xe((e) => e + 1, 0);
	return Se(() => {
		if (e === "") {
			i({
				data: null,
				busy: !1,
				error: null
			});
			return;
		}
		let r = new AbortController(), a = () => {
			i((e) => ({
				...e,
				busy: !0,
				error: null
			})), t(r.signal).then((e) => !r.signal.aborted && i({
				data: e,
				busy: !1,
				error: null
			}), (e) => {
				r.signal.aborted || Wt(e) || i({
					data: null,
					busy: !1,
					error: on(e)
				});
			});
		}, o = n ? setTimeout(a, rn) : void 0;
		return n || a(), () => {
			clearTimeout(o), r.abort();
		};
	}, [
		e,
		a,
		n
	]), {
		...r,
		again: () => o(void 0)
	};
}
function on(e) {
	return e instanceof Q ? e : new Q(`The answer of the search service could not be read: ${String(e).slice(0, 200)}`);
}
// search/image/heat.ts
function sn(e) {
	let t = e.reduce((e, t) => Math.min(e, t), Infinity), n = e.reduce((e, t) => Math.max(e, t), -Infinity) - t;
	return e.map((e) => n > 0 ? (e - t) / n : 0);
}
function cn(e) {
	return sn(e).some((e) => e > 0);
}
function ln(e) {
	return [
		255 * e,
		60 + 160 * e,
		255 * (1 - e),
		190 * e ** 1.5
	];
}
// search/parts/chips.tsx
function un({ chosen: e, nameOf: t, onRemove: n, onClear: r }) {
	return e.length === 0 ? null : /* @__PURE__ */ K("ul", {
		class: "chips",
		"aria-label": "Filters",
		children: [e.map((e) => {
			let { state: r, title: i } = tt(e.field);
			return /* @__PURE__ */ K("li", { children: /* @__PURE__ */ K("button", {
				type: "button",
				class: `chip ${r ?? ""}`,
				"aria-label": `Remove the filter ${i}: ${t(e)}`,
				onClick: () => n(e),
				children: [
					r && /* @__PURE__ */ K(Ye, { state: r }),
					t(e),
					/* @__PURE__ */ K("span", {
						class: "cross",
						"aria-hidden": "true",
						children: "×"
					})
				]
			}) }, `${e.field} ${e.value}`);
		}), e.length > 1 && /* @__PURE__ */ K("li", { children: /* @__PURE__ */ K("button", {
			type: "button",
			class: "plain",
			onClick: r,
			children: "Clear all filters"
		}) })]
	});
}
// search/parts/facet-bars.tsx
var dn = 10;
function fn({ title: e, state: t, facet: n, chosen: r, onToggle: i }) {
	let [a, o] = z(!1), { buckets: s } = n;
	if (s.length === 0) return null;
	let c = a ? s : s.slice(0, dn), l = Math.max(...s.map(({ count: e }) => e));
	return /* @__PURE__ */ K("section", {
		class: `facet ${t ?? ""}`,
		"aria-label": e,
		children: [
			/* @__PURE__ */ K("h3", { children: [
				t && /* @__PURE__ */ K(Ye, { state: t }),
				e,
				!n.exact && /* @__PURE__ */ K("span", {
					class: "quiet",
					children: " (estimated)"
				})
			] }),
			/* @__PURE__ */ K("ul", { children: c.map((e) => /* @__PURE__ */ K(pn, {
				bucket: e,
				share: e.count / l,
				pressed: Ve(r, n.field, e.value),
				onToggle: () => i({
					field: n.field,
					value: e.value
				})
			}, e.value)) }),
			s.length > dn && /* @__PURE__ */ K("button", {
				type: "button",
				class: "plain",
				"aria-expanded": a,
				onClick: () => o(!a),
				children: a ? "fewer" : `${s.length - dn} more`
			})
		]
	});
}
function pn({ bucket: { value: e, name: t, count: n }, share: r, pressed: i, onToggle: a }) {
	return /* @__PURE__ */ K("li", { children: /* @__PURE__ */ K("button", {
		type: "button",
		class: "bar",
		"aria-pressed": i,
		title: t === e ? t : `${t} (${e})`,
		onClick: a,
		children: [
			/* @__PURE__ */ K("span", {
				class: "bar-name",
				children: t
			}),
			/* @__PURE__ */ K("span", {
				class: "bar-count",
				children: n.toLocaleString("en-US")
			}),
			/* @__PURE__ */ K("span", {
				class: "bar-area",
				"aria-hidden": "true",
				children: /* @__PURE__ */ K("span", {
					class: "bar-part",
					style: { width: `${Math.max(100 * r, .8)}%` }
				})
			})
		]
	}) });
}
// search/parts/facets.tsx
function mn({ label: e, children: t }) {
	let [n, r] = z(!1);
	return /* @__PURE__ */ K("aside", {
		class: `facets${n ? " open" : ""}`,
		"aria-label": e,
		children: [/* @__PURE__ */ K("button", {
			type: "button",
			class: "facets-toggle",
			"aria-expanded": n,
			onClick: () => r(!n),
			children: n ? "Hide charts and filters" : "Charts and filters"
		}), t]
	});
}
// search/parts/search-box.tsx
var hn = 64 * 2 ** 20;
function gn({ text: e, onText: t, onEnter: n, onFile: r, uploads: i }) {
	let a = V(null);
	return /* @__PURE__ */ K("form", {
		class: "search-box",
		role: "search",
		onSubmit: (e) => {
			e.preventDefault(), n();
		},
		children: [
			/* @__PURE__ */ K("svg", {
				class: "glass",
				viewBox: "0 0 20 20",
				"aria-hidden": "true",
				children: [/* @__PURE__ */ K("circle", {
					cx: "8.5",
					cy: "8.5",
					r: "5.5"
				}), /* @__PURE__ */ K("path", { d: "m12.8 12.8 4.7 4.7" })]
			}),
			/* @__PURE__ */ K("input", {
				type: "search",
				"aria-label": "Search reports",
				placeholder: "Words of a report, \"a phrase in quotes\"",
				autocomplete: "off",
				spellcheck: !1,
				maxLength: 1e3,
				value: e,
				onInput: (e) => t(e.currentTarget.value)
			}),
			i && /* @__PURE__ */ K("button", {
				type: "button",
				title: "Or drag a file onto the page",
				onClick: () => a.current?.click(),
				children: "Search by image…"
			}),
			/* @__PURE__ */ K("input", {
				ref: a,
				type: "file",
				class: "unseen",
				tabIndex: -1,
				"aria-label": "Image to search by",
				onChange: (e) => {
					let t = e.currentTarget.files?.[0];
					t && r(t), e.currentTarget.value = "";
				}
			})
		]
	});
}
function _n({ text: e, onText: t, onEnter: n }) {
	return /* @__PURE__ */ K("label", {
		class: "words",
		children: ["and whose report says", /* @__PURE__ */ K("input", {
			type: "text",
			placeholder: "words",
			autocomplete: "off",
			spellcheck: !1,
			maxLength: 1e3,
			value: e,
			onInput: (e) => t(e.currentTarget.value),
			onKeyDown: (e) => e.key === "Enter" && n()
		})]
	});
}
function vn(e, t) {
	let [n, r] = z(!1), i = V(t);
	return i.current = t, B(() => {
		let t = e.current;
		if (!t) return;
		let n = (e) => {
			e.dataTransfer?.types.includes("Files") && (e.preventDefault(), e.stopPropagation(), r(!0));
		}, a = (e) => {
			e.relatedTarget instanceof Node && t.contains(e.relatedTarget) || r(!1);
		}, o = (e) => {
			if (r(!1), !e.dataTransfer?.types.includes("Files")) return;
			e.preventDefault(), e.stopPropagation();
			let t = e.dataTransfer.files[0];
			t && i.current(t);
		};
		return t.addEventListener("dragenter", n), t.addEventListener("dragover", n), t.addEventListener("dragleave", a), t.addEventListener("drop", o), () => {
			t.removeEventListener("dragenter", n), t.removeEventListener("dragover", n), t.removeEventListener("dragleave", a), t.removeEventListener("drop", o);
		};
	}, []), n;
}
// search/parts/status.tsx
function yn({ busy: e, error: t, found: n, none: r, onAgain: i }) {
	return t ? /* @__PURE__ */ K("div", {
		class: "status error",
		role: "alert",
		children: [
			t.message,
			" ",
			/* @__PURE__ */ K("button", {
				type: "button",
				onClick: i,
				children: "Try again"
			})
		]
	}) : /* @__PURE__ */ K("div", {
		class: `status${r && !e ? " none" : ""}`,
		role: "status",
		children: e ? "Searching…" : r ? "Sorry, no results." : n
	});
}
// search/image/hit-card.tsx
function bn({ hit: e, liked: t, unliked: n, onLike: r, onUnlike: i, onExplain: a, explained: o }) {
	let { image: s, score: c, impression: l, sentence: u, studies: d } = e;
	return /* @__PURE__ */ K("li", {
		class: "hit",
		children: [
			/* @__PURE__ */ K(qt, {
				image: s,
				children: /* @__PURE__ */ K("figcaption", { children: [/* @__PURE__ */ K("span", {
					class: "score",
					title: "Cosine similarity",
					children: c.toFixed(3)
				}), /* @__PURE__ */ K("span", {
					class: "quiet",
					children: [s.viewPosition, $(s.studyDate)].filter(Boolean).join(" · ")
				})] })
			}),
			/* @__PURE__ */ K(xn, {
				positive: s.positive,
				uncertain: s.uncertain
			}),
			(u || l) && /* @__PURE__ */ K("p", {
				class: "hit-impression",
				children: u ? /* @__PURE__ */ K("mark", { children: u }) : l
			}),
			/* @__PURE__ */ K("div", {
				class: "hit-actions",
				children: [
					r && /* @__PURE__ */ K("button", {
						type: "button",
						"aria-label": "More like this",
						"aria-pressed": t,
						onClick: r,
						title: "Search for more like this one",
						children: [/* @__PURE__ */ K(Cn, { up: !0 }), " More"]
					}),
					i && /* @__PURE__ */ K("button", {
						type: "button",
						"aria-label": "Less like this",
						"aria-pressed": n,
						onClick: i,
						title: "Search for less like this one",
						children: [/* @__PURE__ */ K(Cn, { up: !1 }), " Less"]
					}),
					a && /* @__PURE__ */ K("button", {
						type: "button",
						"aria-label": "Why similar?",
						"aria-pressed": o,
						onClick: a,
						title: "Show the regions that make the two images similar",
						children: "Why?"
					})
				]
			}),
			d.length > 0 && /* @__PURE__ */ K(Sn, { studies: d })
		]
	});
}
function xn({ positive: e, uncertain: t }) {
	return e.length + t.length === 0 ? null : /* @__PURE__ */ K("ul", {
		class: "stated",
		"aria-label": "Reported",
		children: [e.map((e) => /* @__PURE__ */ K("li", {
			class: "positive",
			children: [/* @__PURE__ */ K(Ye, { state: "positive" }), e]
		}, e)), t.map((e) => /* @__PURE__ */ K("li", {
			class: "uncertain",
			children: [
				/* @__PURE__ */ K(Ye, { state: "uncertain" }),
				e,
				/* @__PURE__ */ K("span", {
					class: "unseen",
					children: ", stated as uncertain"
				})
			]
		}, e))]
	});
}
function Sn({ studies: e }) {
	let t = (t) => e.filter((e) => e.when === t).length;
	return /* @__PURE__ */ K("details", {
		class: "studies",
		children: [/* @__PURE__ */ K("summary", { children: [
			["earlier", "later"].filter((e) => t(e) > 0).map((e) => `${t(e)} ${e}`).join(" · "),
			" ",
			e.length === 1 ? "study" : "studies"
		] }), /* @__PURE__ */ K("ol", { children: e.map((e) => /* @__PURE__ */ K("li", { children: [
			/* @__PURE__ */ K("strong", { children: $(e.date) }),
			" ",
			/* @__PURE__ */ K("span", {
				class: "quiet",
				children: e.days === null ? e.when : `${e.days.toLocaleString("en-US")} days ${e.when}`
			}),
			/* @__PURE__ */ K("br", {}),
			e.impression || /* @__PURE__ */ K("span", {
				class: "quiet",
				children: "no report"
			})
		] }, `${e.date} ${e.imageIds.join(" ")}`)) })]
	});
}
function Cn({ up: e }) {
	return /* @__PURE__ */ K("svg", {
		class: `thumb${e ? "" : " down"}`,
		viewBox: "0 0 16 16",
		"aria-hidden": "true",
		focusable: "false",
		children: [/* @__PURE__ */ K("path", { d: "M1.5 7h2.7v7H1.5z" }), /* @__PURE__ */ K("path", { d: "M5.6 7.2 8.4 1.5c1.4 0 1.9 1 1.7 2.2L9.7 6h3.6c.9 0 1.4.8 1.2 1.6l-1.2 5.2c-.2.7-.7 1.2-1.4 1.2H5.6z" })]
	});
}
// search/image/similar-list.tsx
function wn({ place: e, asked: t, explained: n, onExplain: r }) {
	let { navigation: i, selection: a } = Z(), { data: o, busy: s, error: c, again: l } = t, u = (t) => i.go({
		...e,
		...t
	}), d = (t) => u({ chosen: Be(e.chosen, t) }), f = (t, n) => {
		let [r, i] = n ? [e.like, e.unlike] : [e.unlike, e.like], a = r.includes(t) ? r.filter((e) => e !== t) : [...r, t], o = i.filter((e) => e !== t);
		u(n ? {
			like: a,
			unlike: o
		} : {
			like: o,
			unlike: a
		});
	}, p = o?.similar.hits ?? [], m = o?.image.viewPosition ?? "", h = e.like.length + e.unlike.length, g = e.text === "", _ = `${p.length} similar ${p.length === 1 ? "image" : "images"}, best first, with their cosine similarity (1: the same)`;
	return /* @__PURE__ */ K("section", {
		class: "similar",
		"aria-label": "Similar images",
		children: [
			/* @__PURE__ */ K("div", {
				class: "similar-head",
				children: [
					/* @__PURE__ */ K("h2", { children: "Similar images" }),
					/* @__PURE__ */ K("label", { children: [
						/* @__PURE__ */ K("input", {
							type: "checkbox",
							checked: e.sameView,
							disabled: m === "",
							onChange: () => u({ sameView: !e.sameView })
						}),
						"Same view only",
						m && ` (${m})`
					] }),
					/* @__PURE__ */ K("label", { children: [/* @__PURE__ */ K("input", {
						type: "checkbox",
						checked: e.samePatient,
						onChange: () => u({ samePatient: !e.samePatient })
					}), "Include the same patient"] }),
					/* @__PURE__ */ K(_n, {
						text: e.text,
						onText: (t) => i.type({
							...e,
							text: t,
							like: [],
							unlike: []
						}),
						onEnter: () => i.settle()
					}),
					p.length > 0 && /* @__PURE__ */ K("button", {
						type: "button",
						onClick: () => a.toggleAll(p.map(({ image: e }) => e.id)),
						children: "Select all"
					})
				]
			}),
			h > 0 && /* @__PURE__ */ K("div", {
				class: "like",
				children: [
					`The search is steered by ${e.like.length} more like and ${e.unlike.length} less like.`,
					/* @__PURE__ */ K(Tn, {
						ids: e.like,
						more: !0,
						onRemove: (e) => f(e, !0)
					}),
					/* @__PURE__ */ K(Tn, {
						ids: e.unlike,
						more: !1,
						onRemove: (e) => f(e, !1)
					}),
					/* @__PURE__ */ K("button", {
						type: "button",
						onClick: () => u({
							like: [],
							unlike: []
						}),
						children: "Start over"
					})
				]
			}),
			/* @__PURE__ */ K(un, {
				chosen: e.chosen,
				nameOf: ({ value: e }) => e,
				onRemove: d,
				onClear: () => u({ chosen: [] })
			}),
			/* @__PURE__ */ K(yn, {
				busy: s,
				error: c,
				found: _,
				none: p.length === 0,
				onAgain: l
			}),
			o && p.length > 0 && /* @__PURE__ */ K("div", {
				class: `with-facets${s ? " stale" : ""}`,
				"aria-busy": s,
				children: [/* @__PURE__ */ K(mn, {
					label: `Among these ${p.length} images`,
					children: [/* @__PURE__ */ K("p", {
						class: "facets-note",
						children: [
							"Among these ",
							p.length,
							" ",
							p.length === 1 ? "image" : "images",
							", not the whole index. Choose a bar to see only these."
						]
					}), o.similar.facets.map((t) => /* @__PURE__ */ K(fn, {
						facet: t,
						...tt(t.field),
						chosen: e.chosen,
						onToggle: d
					}, t.field))]
				}), /* @__PURE__ */ K("ol", {
					class: "hits",
					children: p.map((t) => /* @__PURE__ */ K(bn, {
						hit: t,
						liked: e.like.includes(t.image.id),
						unliked: e.unlike.includes(t.image.id),
						onLike: g ? () => f(t.image.id, !0) : null,
						onUnlike: g ? () => f(t.image.id, !1) : null,
						onExplain: r && (() => r(t.image.id)),
						explained: n === t.image.id
					}, t.image.id))
				})]
			})
		]
	});
}
function Tn({ ids: e, more: t, onRemove: n }) {
	let r = t ? "more like this" : "less like this";
	return /* @__PURE__ */ K(b, { children: e.map((e) => /* @__PURE__ */ K("button", {
		type: "button",
		class: "steering",
		title: `Take back: ${r}`,
		onClick: () => n(e),
		children: [/* @__PURE__ */ K(Gt, {
			id: e,
			alt: `Take back: ${r}`
		}), /* @__PURE__ */ K(Cn, { up: t })]
	}, e)) });
}
// search/image/window.ts
var En = {
	center: 127.5,
	width: 255,
	inverted: !1
};
function Dn(e, t, n) {
	let r = e.inverted ? -1 : 1;
	return {
		...e,
		width: jn(e.width + 255 * t, 1, 1020),
		center: jn(e.center + r * 255 * n, 0, 255)
	};
}
function On({ center: e, width: t, inverted: n }) {
	let r = e - t / 2;
	return Uint8ClampedArray.from({ length: 256 }, (e, i) => {
		let a = 255 * (i - r) / t;
		return n ? 255 - a : a;
	});
}
function kn(e, t, n) {
	for (let r = 0, i = 0; r < e.length; r += 1, i += 4) {
		let a = t[e[r]];
		n[i] = n[i + 1] = n[i + 2] = a, n[i + 3] = 255;
	}
}
function An(e) {
	return Uint8ClampedArray.from({ length: e.length / 4 }, (t, n) => e[4 * n]);
}
function jn(e, t, n) {
	return Math.min(Math.max(e, t), n);
}
// search/image/viewer.tsx
var Mn = [
	1,
	1.5,
	2,
	3,
	4
];
function Nn({ id: e, alt: t, overlay: n, label: r = "Image" }) {
	let { pictures: i } = Z(), a = V(null), [o, s] = z(null), [c, l] = z(""), [u, d] = z(En), [f, p] = z(1);
	B(() => {
		let t = !1;
		return s(null), l(""), d(En), p(1), i.address(e, "large").then(In).then((e) => !t && s(e), (e) => !t && !Wt(e) && l(e instanceof Error ? e.message : "The picture failed.")), () => {
			t = !0;
		};
	}, [e, i]), Se(() => {
		a.current && o && Ln(a.current, o, u);
	}, [o, u]);
	let m = (e) => {
		let t = Mn.findIndex((e) => e === f) + e;
		p(Mn[Math.min(Math.max(t, 0), Mn.length - 1)] ?? 1);
	}, h = () => {
		d(En), p(1);
	};
	return /* @__PURE__ */ K("div", {
		class: "viewer",
		children: [/* @__PURE__ */ K("div", {
			class: "viewport",
			role: "application",
			tabIndex: 0,
			"aria-label": `${r}. Arrow keys change the contrast, plus and minus zoom, I inverts, Home resets.`,
			onKeyDown: (e) => {
				if (e.ctrlKey || e.altKey || e.metaKey) return;
				let t = e.shiftKey ? .1 : .02, n = {
					ArrowLeft: () => d((e) => Dn(e, -t, 0)),
					ArrowRight: () => d((e) => Dn(e, t, 0)),
					ArrowUp: () => d((e) => Dn(e, 0, -t)),
					ArrowDown: () => d((e) => Dn(e, 0, t)),
					i: () => d((e) => ({
						...e,
						inverted: !e.inverted
					})),
					"+": () => m(1),
					"-": () => m(-1),
					Home: h
				}, r = Object.hasOwn(n, e.key) ? n[e.key] : void 0;
				r && (e.preventDefault(), e.stopPropagation(), r());
			},
			...Pn((e, t) => d((n) => Dn(n, e, t))),
			onDblClick: h,
			children: [/* @__PURE__ */ K("div", {
				class: "stage",
				style: { width: `${100 * f}%` },
				children: [/* @__PURE__ */ K("canvas", {
					ref: a,
					role: "img",
					"aria-label": t,
					hidden: o === null
				}), o && n && /* @__PURE__ */ K(Fn, { map: n })]
			}), o === null && /* @__PURE__ */ K("p", {
				class: "viewer-note",
				children: c || "Loading the image…"
			})]
		}), /* @__PURE__ */ K("div", {
			class: "viewer-bar",
			children: [
				/* @__PURE__ */ K("output", {
					title: "Window width and level, of gray values from 0 to 255",
					children: [
						"W ",
						Math.round(u.width),
						" · L ",
						Math.round(u.center)
					]
				}),
				/* @__PURE__ */ K("span", {
					class: "quiet viewer-hint",
					children: "Drag to change the contrast"
				}),
				/* @__PURE__ */ K("button", {
					type: "button",
					"aria-pressed": u.inverted,
					onClick: () => d({
						...u,
						inverted: !u.inverted
					}),
					children: "Invert"
				}),
				/* @__PURE__ */ K("button", {
					type: "button",
					"aria-label": "Zoom out",
					disabled: f === Mn[0],
					onClick: () => m(-1),
					children: "−"
				}),
				/* @__PURE__ */ K("button", {
					type: "button",
					"aria-label": "Zoom in",
					disabled: f === Mn.at(-1),
					onClick: () => m(1),
					children: "+"
				}),
				/* @__PURE__ */ K("button", {
					type: "button",
					onClick: h,
					children: "Reset"
				})
			]
		})]
	});
}
function Pn(e) {
	return { onPointerDown: (t) => {
		if (t.button !== 0 || !(t.currentTarget instanceof HTMLElement)) return;
		let n = t.currentTarget, r = [t.clientX, t.clientY], i = ({ clientX: t, clientY: n }) => {
			e((t - r[0]) / 400, (n - r[1]) / 400), r = [t, n];
		}, a = () => {
			n.removeEventListener("pointermove", i), n.removeEventListener("pointerup", a), n.removeEventListener("pointercancel", a);
		};
		n.setPointerCapture(t.pointerId), n.addEventListener("pointermove", i), n.addEventListener("pointerup", a), n.addEventListener("pointercancel", a);
	} };
}
function Fn({ map: e }) {
	let t = V(null);
	return Se(() => {
		let n = t.current?.getContext("2d");
		if (!t.current || !n) return;
		t.current.width = e.columns, t.current.height = e.rows;
		let r = n.createImageData(e.columns, e.rows);
		sn(e.values).forEach((e, t) => {
			r.data.set(ln(e), 4 * t);
		}), n.putImageData(r, 0, 0);
	}, [e]), /* @__PURE__ */ K("canvas", {
		ref: t,
		class: "overlay",
		"aria-hidden": "true"
	});
}
async function In(e) {
	let t = new Image();
	t.src = e, await t.decode();
	let { naturalWidth: n, naturalHeight: r } = t, i = document.createElement("canvas");
	i.width = n, i.height = r;
	let a = i.getContext("2d", { willReadFrequently: !0 });
	if (!a) throw Error("This browser cannot draw the image.");
	return a.drawImage(t, 0, 0), {
		width: n,
		height: r,
		gray: An(a.getImageData(0, 0, n, r).data)
	};
}
function Ln(e, { width: t, height: n, gray: r }, i) {
	(e.width !== t || e.height !== n) && (e.width = t, e.height = n);
	let a = e.getContext("2d");
	if (!a) return;
	let o = a.createImageData(t, n);
	kn(r, On(i), o.data), a.putImageData(o, 0, 0);
}
// search/image/image-page.tsx
function Rn({ place: e, explains: t }) {
	let n = Z(), { navigation: r, transport: i } = n, [a, o] = z(""), [s, c] = z(""), l = an(JSON.stringify([e, e.sameView && s]), (t) => Dt(i, e, s, t), r.typing), { data: u, busy: d, error: f } = l, p = u?.image.id === e.id ? u : null;
	return B(() => {
		p && c(p.image.viewPosition), p && n.onHits("images", p.similar.hits.map(({ image: e, score: t }) => ({
			id: e.id,
			score: t
		})));
	}, [p]), B(() => o(""), [e.id]), /* @__PURE__ */ K("div", {
		class: "image-page",
		children: [
			/* @__PURE__ */ K("button", {
				type: "button",
				class: "back",
				onClick: () => r.depth > 0 ? r.back() : r.go(G),
				children: "‹ Back"
			}),
			!p && !d && !f && /* @__PURE__ */ K("p", {
				class: "status none",
				children: [
					"There is no image ",
					e.id,
					" in this index."
				]
			}),
			/* @__PURE__ */ K("div", {
				class: "image-head",
				children: [/* @__PURE__ */ K(Bn, {
					id: e.id,
					other: a,
					image: p?.image ?? null,
					onClose: () => o("")
				}), p && /* @__PURE__ */ K("div", {
					class: "image-facts",
					children: [/* @__PURE__ */ K(Vn, { image: p.image }), p.report ? /* @__PURE__ */ K(Hn, {
						report: p.report,
						id: e.id
					}) : /* @__PURE__ */ K("p", {
						class: "quiet",
						children: "There is no report of this image."
					})]
				})]
			}),
			/* @__PURE__ */ K(wn, {
				place: e,
				asked: p || d || f ? {
					...l,
					data: p
				} : l,
				explained: a,
				onExplain: t ? (e) => o(e === a ? "" : e) : null
			})
		]
	});
}
var zn = "Colored regions add most to the similarity: there the network sees the same in both, which need not be where a finding is.";
function Bn({ id: e, other: t, image: n, onClose: r }) {
	let { transport: i } = Z(), [a, o] = z(!0), s = V(null);
	B(() => {
		if (!t) return;
		let e = document.activeElement;
		return s.current?.closest(".comparison")?.scrollIntoView({ block: "nearest" }), s.current?.focus({ preventScroll: !0 }), () => {
			e instanceof HTMLElement && e.isConnected && e.focus();
		};
	}, [t]);
	let { data: c, busy: l, error: u } = an(t && `${e} ${t}`, async (n) => ({
		here: await kt(i, e, t, n),
		there: await kt(i, t, e, n)
	})), d = [c?.here, c?.there].some((e) => e && cn(e.values));
	return /* @__PURE__ */ K("div", {
		class: `comparison${t ? " two" : ""}`,
		children: [
			/* @__PURE__ */ K(Nn, {
				id: e,
				alt: n ? Yt(n) : "Image",
				overlay: t && a ? c?.here ?? null : null
			}),
			t && /* @__PURE__ */ K(Nn, {
				id: t,
				alt: "The similar image",
				overlay: a ? c?.there ?? null : null,
				label: "Similar image"
			}),
			t && /* @__PURE__ */ K("div", {
				class: "comparison-note",
				children: [
					/* @__PURE__ */ K("p", {
						ref: s,
						role: "status",
						tabIndex: -1,
						children: l ? "Comparing…" : u ? u.message : d ? zn : "No region adds more to the similarity than others."
					}),
					d && /* @__PURE__ */ K(b, { children: [/* @__PURE__ */ K("span", {
						class: "heat-scale",
						children: [
							"less ",
							/* @__PURE__ */ K("span", {
								class: "heat-colors",
								"aria-hidden": "true"
							}),
							" more"
						]
					}), /* @__PURE__ */ K("button", {
						type: "button",
						"aria-pressed": !a,
						onClick: () => o(!a),
						children: "Hide colors"
					})] }),
					/* @__PURE__ */ K("button", {
						type: "button",
						onClick: r,
						children: "Close comparison"
					})
				]
			})
		]
	});
}
function Vn({ image: e }) {
	let { modality: t, bodyPart: n, viewPosition: r, laterality: i, sex: a, studyDate: o, rows: s, columns: c, id: l, uploaded: u } = e;
	return /* @__PURE__ */ K("dl", {
		class: "metadata",
		children: [
			["Study date", $(o)],
			["Modality", t],
			["Body part", n],
			["View", r],
			["Laterality", i],
			["Sex", a],
			["Size", s > 0 ? `${c} × ${s}` : ""],
			["SOP Instance UID", u ? "uploaded, not in the index" : l]
		].filter(([, e]) => e !== "").map(([e, t]) => /* @__PURE__ */ K("div", { children: [/* @__PURE__ */ K("dt", { children: e }), /* @__PURE__ */ K("dd", { children: t })] }, e))
	});
}
function Hn({ report: e, id: t }) {
	let n = Te(), r = ["impression", "findings"], i = (e) => r.includes(e) ? r.indexOf(e) : r.length, a = [...e.sections].sort((e, t) => i(e.name) - i(t.name)), o = e.images.filter((e) => e.id !== t);
	return /* @__PURE__ */ K("section", {
		class: "image-report",
		"aria-labelledby": n,
		children: [
			/* @__PURE__ */ K("h2", {
				id: n,
				children: ["Report ", /* @__PURE__ */ K("span", {
					class: "quiet report-id",
					children: e.id
				})]
			}),
			a.map((e) => /* @__PURE__ */ K(tn, { section: e }, e.name)),
			/* @__PURE__ */ K(Mt, {
				findings: e.findings,
				id: n
			}),
			o.length > 0 && /* @__PURE__ */ K(b, { children: [/* @__PURE__ */ K("h4", { children: "Other images of this report" }), /* @__PURE__ */ K("div", {
				class: "report-images",
				children: o.map((e) => /* @__PURE__ */ K(qt, { image: e }, e.id))
			})] })
		]
	});
}
// search/parts/selection-bar.tsx
function Un() {
	let { selection: e } = Z(), [, t] = xe((e) => e + 1, 0), [n, r] = z("");
	B(() => e.subscribe(() => (r(""), t(void 0))), [e]);
	let i = e.all;
	return i.length === 0 ? null : /* @__PURE__ */ K("footer", {
		class: "selection",
		"aria-label": "Selection",
		children: [
			/* @__PURE__ */ K("span", {
				role: "status",
				children: [
					i.length,
					" ",
					i.length === 1 ? "image" : "images",
					" selected. ",
					n
				]
			}),
			/* @__PURE__ */ K("button", {
				type: "button",
				onClick: () => {
					navigator.clipboard?.writeText(i.join("\n")).then(() => r("Copied."), () => r("The browser does not allow copying."));
				},
				children: "Copy the ids"
			}),
			/* @__PURE__ */ K("button", {
				type: "button",
				onClick: () => e.set([]),
				children: "Clear"
			})
		]
	});
}
// search/parts/sign-in.tsx
function Wn({ onToken: e }) {
	let [t, n] = z(""), [r, i] = z(""), a = () => {
		i(""), e(t.trim()).catch(() => i("This token does not open the search. Check it, or ask for a new one."));
	};
	return /* @__PURE__ */ K("main", {
		class: "sign-in",
		children: /* @__PURE__ */ K("form", {
			onSubmit: (e) => {
				e.preventDefault(), t.trim() !== "" && a();
			},
			children: [
				/* @__PURE__ */ K("h1", { children: "Sign in to search" }),
				r && /* @__PURE__ */ K("p", {
					class: "status error",
					role: "alert",
					children: r
				}),
				/* @__PURE__ */ K("label", { children: ["Token", /* @__PURE__ */ K("input", {
					type: "password",
					autocomplete: "current-password",
					value: t,
					onInput: (e) => n(e.currentTarget.value)
				})] }),
				/* @__PURE__ */ K("p", {
					class: "quiet",
					children: "The service printed it when it was started."
				}),
				/* @__PURE__ */ K("button", {
					type: "submit",
					children: "Sign in"
				})
			]
		})
	});
}
var Gn = {
	denied: "You were not signed in: the sign-in was canceled or refused there. Try again, or ask who runs this service.",
	expired: "Signing in took too long, or this browser keeps no cookies of this page. Try again.",
	refused: "The answer was not accepted. Start again from here, not from an older page.",
	unavailable: "The sign-in of your institution does not answer. Try again in a minute.",
	"too-long": "Your token is too long for a cookie. Ask who runs this service for a client with fewer claims."
};
function Kn({ at: e, problem: t }) {
	return /* @__PURE__ */ K("main", {
		class: "sign-in",
		children: /* @__PURE__ */ K("div", {
			class: "sign-in-box",
			children: [
				/* @__PURE__ */ K("h1", { children: "Sign in to search" }),
				t && /* @__PURE__ */ K("p", {
					class: "status error",
					role: "alert",
					children: Object.hasOwn(Gn, t) && Gn[t] || "Signing in failed. Try again."
				}),
				/* @__PURE__ */ K("a", {
					class: "button",
					href: e,
					children: "Sign in"
				}),
				/* @__PURE__ */ K("p", {
					class: "quiet",
					children: "This takes you to the sign-in of your institution and back."
				})
			]
		})
	});
}
// search/parts/pager.tsx
function qn({ page: e, size: t, shown: n, total: r, more: i, onPrevious: a, onNext: o }) {
	if (r <= n && e === 0) return null;
	let s = e * t + 1;
	return /* @__PURE__ */ K("nav", {
		class: "pager",
		"aria-label": "Pages",
		children: [
			/* @__PURE__ */ K("button", {
				type: "button",
				disabled: e === 0,
				onClick: a,
				children: "‹ Previous"
			}),
			/* @__PURE__ */ K("span", { children: `${s.toLocaleString("en-US")}–${(s + n - 1).toLocaleString("en-US")} of ${r.toLocaleString("en-US")}` }),
			/* @__PURE__ */ K("button", {
				type: "button",
				disabled: !i,
				onClick: o,
				children: "Next ›"
			})
		]
	});
}
// search/reports/facet-column.tsx
function Jn({ facets: e, vocabulary: t, chosen: n, onVocabulary: r, onToggle: i }) {
	let a = e.every(({ buckets: e }) => e.length === 0);
	return /* @__PURE__ */ K(mn, {
		label: "What the reports state",
		children: [
			/* @__PURE__ */ K("label", {
				class: "vocabulary",
				children: ["Count by", /* @__PURE__ */ K("select", {
					value: t,
					onChange: ({ currentTarget: { value: e } }) => Ze(e) && r(e),
					children: Xe.map(({ name: e, title: t }) => /* @__PURE__ */ K("option", {
						value: e,
						children: t
					}, e))
				})]
			}),
			!a && /* @__PURE__ */ K("p", {
				class: "facets-note",
				children: "How many of the reports state it. Choose a bar to see only these."
			}),
			e.map((e) => /* @__PURE__ */ K(fn, {
				facet: e,
				...tt(e.field),
				chosen: n,
				onToggle: i
			}, e.field)),
			a && /* @__PURE__ */ K("p", {
				class: "quiet",
				children: "Nothing to count in these reports."
			})
		]
	});
}
// search/reports/reports-page.tsx
function Yn({ place: e }) {
	let t = Z(), { navigation: n, transport: r } = t, [i, a] = z("labels"), { data: o, busy: s, error: c, again: l } = an(JSON.stringify([e, i]), (t) => Et(r, e, i, t), n.typing);
	B(() => {
		o && t.onHits("reports", o.reports);
	}, [o]);
	let u = (t) => n.go({
		...e,
		cursors: [],
		...t
	}), d = (t) => u({ chosen: Be(e.chosen, t) }), f = ({ field: e, value: t }) => o?.facets.find((t) => t.field === e)?.buckets.find((e) => e.value === t)?.name ?? t, p = e.text !== "" || e.like !== "" || e.chosen.length > 0, m = o ? `${o.total.toLocaleString("en-US")} ${o.total === 1 ? "report" : "reports"}` : "";
	return /* @__PURE__ */ K("div", {
		class: "reports-page",
		children: [
			e.like !== "" && /* @__PURE__ */ K("p", {
				class: "like",
				children: [
					"Reports similar to ",
					/* @__PURE__ */ K("strong", { children: e.like }),
					" ",
					/* @__PURE__ */ K("button", {
						type: "button",
						onClick: () => u({ like: "" }),
						children: "Show all reports"
					})
				]
			}),
			/* @__PURE__ */ K(un, {
				chosen: e.chosen,
				nameOf: f,
				onRemove: d,
				onClear: () => u({ chosen: [] })
			}),
			/* @__PURE__ */ K(yn, {
				busy: s,
				error: c,
				found: m,
				none: o?.total === 0,
				onAgain: l
			}),
			o && o.total > 0 && /* @__PURE__ */ K("div", {
				class: `with-facets${s ? " stale" : ""}`,
				"aria-busy": s,
				children: [/* @__PURE__ */ K(Jn, {
					facets: o.facets,
					vocabulary: i,
					chosen: e.chosen,
					onVocabulary: a,
					onToggle: d
				}), /* @__PURE__ */ K("section", {
					class: "results",
					"aria-label": p ? "Reports found" : "All reports, the newest first",
					children: [/* @__PURE__ */ K(Xn, {
						reports: o.reports,
						onLike: (e) => u({
							like: e,
							text: "",
							chosen: []
						})
					}), /* @__PURE__ */ K(qn, {
						page: e.cursors.length,
						size: 20,
						shown: o.reports.length,
						total: o.total,
						more: o.cursor !== "",
						onPrevious: () => n.go({
							...e,
							cursors: e.cursors.slice(0, -1)
						}),
						onNext: () => n.go({
							...e,
							cursors: [...e.cursors, o.cursor]
						})
					})]
				})]
			})
		]
	});
}
function Xn({ reports: e, onLike: t }) {
	return /* @__PURE__ */ K(b, { children: e.map((e) => /* @__PURE__ */ K(en, {
		report: e,
		onLike: t
	}, e.id)) });
}
// search/app.tsx
function Zn({ host: e }) {
	let { session: t } = e.transport, [n, r] = z(t ? null : zt), [i, a] = z(null), o = () => {
		a(null);
		let e = (e) => e instanceof Q ? e : new Q(String(e));
		t?.open().then(r, (t) => a(e(t)));
	};
	B(o, [t]);
	let s = () => r((e) => ({
		...zt,
		signedIn: !1,
		needed: !0,
		at: e?.at ?? ""
	})), c = Ce(() => ({
		...e,
		transport: nr(e.transport, s)
	}), [e]);
	if (!n) return /* @__PURE__ */ K(yn, {
		busy: !i,
		error: i,
		found: "",
		none: !1,
		onAgain: o
	});
	if (!n.signedIn && t) return n.at === "" ? /* @__PURE__ */ K(Wn, { onToken: async (e) => r(await t.signIn(e)) }) : /* @__PURE__ */ K(Kn, {
		at: n.at,
		problem: n.problem
	});
	let l = async () => {
		let n = await t?.signOut();
		e.pictures.clear(), e.selection.set([]), e.navigation.replace(G), r({
			...zt,
			signedIn: !1,
			needed: !0,
			at: n?.at ? `${n.at}?prompt=login` : ""
		});
	};
	return /* @__PURE__ */ K(Lt, {
		value: c,
		children: /* @__PURE__ */ K(Qn, {
			name: n.name,
			onSignOut: n.needed ? () => void l() : null
		})
	});
}
function Qn({ name: e, onSignOut: t }) {
	let { navigation: n, transport: r } = Z(), i = Rt(), a = V(null), o = V(null), s = an("index", (e) => Ot(r, e)), { sending: c, problem: l, send: u } = $n(), d = vn(a, u);
	er(o, n), tr(a);
	let f = i.kind === "reports" ? i.text : "";
	return /* @__PURE__ */ K("div", {
		ref: a,
		class: `search-root${d ? " dropping" : ""}`,
		children: [
			/* @__PURE__ */ K("header", {
				class: "top",
				children: [
					/* @__PURE__ */ K("a", {
						class: "title",
						href: Le(G),
						onClick: (e) => {
							e.preventDefault(), n.go(G);
						},
						children: "Image and report search"
					}),
					/* @__PURE__ */ K(gn, {
						text: f,
						onText: (e) => {
							n.type({
								...G,
								text: e,
								...i.kind === "reports" && { chosen: i.chosen }
							});
						},
						onEnter: () => n.settle(),
						onFile: u,
						uploads: s.data?.acceptsUploads !== !1
					}),
					/* @__PURE__ */ K("span", {
						class: "quiet index-size",
						children: s.data ? `${s.data.reports.toLocaleString("en-US")} reports indexed` : ""
					}),
					e && /* @__PURE__ */ K("span", {
						class: "quiet",
						children: ["Hello, ", e]
					}),
					t && /* @__PURE__ */ K("button", {
						type: "button",
						class: "plain",
						onClick: t,
						children: "Sign out"
					})
				]
			}),
			(c || l) && /* @__PURE__ */ K("p", {
				class: `status upload${l ? " error" : ""}`,
				role: l ? "alert" : "status",
				children: l || "Reading the image…"
			}),
			/* @__PURE__ */ K("main", {
				ref: o,
				tabIndex: -1,
				children: i.kind === "reports" ? /* @__PURE__ */ K(Yn, { place: i }) : /* @__PURE__ */ K(Rn, {
					place: i,
					explains: s.data?.explains === !0
				})
			}),
			/* @__PURE__ */ K(Un, {}),
			d && /* @__PURE__ */ K("div", {
				class: "drop-note",
				"aria-hidden": "true",
				children: "Drop the image to find similar ones"
			})
		]
	});
}
function $n() {
	let { navigation: e, transport: t } = Z(), [n, r] = z(!1), [i, a] = z("");
	return {
		sending: n,
		problem: i,
		send: (n) => {
			n.size > hn ? a(`The file has ${Math.round(n.size / 2 ** 20)} MB; at most ${hn / 2 ** 20} MB can be searched by.`) : (r(!0), a(""), t.upload(n).then((t) => e.go(Ie(t)), (e) => a(e instanceof Error ? e.message : "The image could not be sent.")).finally(() => r(!1)));
		}
	};
}
function er(e, t) {
	let { place: n } = t, r = n.kind === "image" ? n.id : "", i = V(r);
	B(() => {
		i.current !== r && (i.current = r, t.typing || (e.current?.focus({ preventScroll: !0 }), e.current?.closest(".search-root")?.scrollIntoView({ block: "start" })));
	}, [r]);
}
function tr(e) {
	B(() => {
		let t = e.current, n = (e) => {
			e.key !== "/" || e.ctrlKey || e.altKey || e.metaKey || e.target instanceof HTMLElement && e.target.matches("input:not([type=\"checkbox\"]), select, textarea") || (e.preventDefault(), t?.querySelector("input[type=\"search\"]")?.focus());
		};
		return t?.addEventListener("keydown", n), () => t?.removeEventListener("keydown", n);
	}, []);
}
function nr(e, t) {
	let n = async (e) => {
		try {
			return await e;
		} catch (e) {
			throw !Wt(e) && e instanceof Q && e.denied && t(), e;
		}
	};
	return {
		...e,
		graphql: (...t) => n(e.graphql(...t)),
		upload: (...t) => n(e.upload(...t))
	};
}
// search/state/navigation.ts
var rr = class {
	place;
	typing = !1;
	depth = 0;
	listeners = /* @__PURE__ */ new Set();
	before = [];
	window;
	constructor(e) {
		this.window = e, this.place = G, e && (this.readHistory(), e.addEventListener("popstate", this.onPopState));
	}
	subscribe(e) {
		return this.listeners.add(e), () => this.listeners.delete(e);
	}
	go(e) {
		this.push(e), this.show(e, !1);
	}
	replace(e) {
		this.keep(e), this.show(e, !1);
	}
	type(e) {
		e.kind === this.place.kind && e.text !== "" && this.place.text !== "" ? this.keep(e) : this.push(e), this.show(e, !0);
	}
	settle() {
		this.typing && this.show(this.place, !1);
	}
	back() {
		this.depth === 0 ? this.go(G) : this.window ? this.window.history.back() : (--this.depth, this.show(this.before.pop() ?? G, !1));
	}
	close() {
		this.window?.removeEventListener("popstate", this.onPopState), this.listeners.clear();
	}
	onPopState = () => {
		this.readHistory();
		for (let e of this.listeners) e();
	};
	readHistory() {
		if (!this.window) return;
		let { history: e, location: t } = this.window, n = e.state ?? {}, r = ze(n.place);
		this.place = r && Le(r) === (t.hash || "#/") ? r : Re(t.hash), this.depth = typeof n.depth == "number" ? n.depth : 0, this.typing = !1;
	}
	push(e) {
		this.before.push(this.place), this.depth += 1, this.window?.history.pushState({
			place: e,
			depth: this.depth
		}, "", Le(e));
	}
	keep(e) {
		try {
			this.window?.history.replaceState({
				place: e,
				depth: this.depth
			}, "", Le(e));
		} catch {}
	}
	show(e, t) {
		this.place = e, this.typing = t;
		for (let e of this.listeners) e();
	}
}, ir = class {
	ids = [];
	listeners = /* @__PURE__ */ new Set();
	get all() {
		return this.ids;
	}
	has(e) {
		return this.ids.includes(e);
	}
	toggle(e) {
		this.set(this.has(e) ? this.ids.filter((t) => t !== e) : [...this.ids, e]);
	}
	toggleAll(e) {
		let t = this.ids.filter((t) => !e.includes(t));
		this.set(e.every((e) => this.has(e)) ? t : [...this.ids, ...e.filter((e) => !this.has(e))]);
	}
	set(e) {
		if (!(e.length === this.ids.length && e.every((e, t) => e === this.ids[t]))) {
			this.ids = [...e];
			for (let e of this.listeners) e(this.ids);
		}
	}
	subscribe(e) {
		return this.listeners.add(e), () => this.listeners.delete(e);
	}
};
// search/theme.ts
function ar(e) {
	let t = typeof matchMedia > "u" ? null : matchMedia("(prefers-color-scheme: dark)"), n = () => {
		e.dataset.theme = or(document.body) ?? t?.matches ?? !1 ? "dark" : "light";
	};
	n(), t?.addEventListener("change", n);
	let r = new MutationObserver(n);
	return r.observe(document.body, {
		attributes: !0,
		attributeFilter: [
			"class",
			"data-jp-theme-light",
			"data-vscode-theme-kind"
		]
	}), () => {
		t?.removeEventListener("change", n), r.disconnect();
	};
}
function or(e) {
	let t = e.dataset.jpThemeLight;
	if (t !== void 0) return t === "false";
	let n = e.dataset.vscodeThemeKind;
	return n === void 0 ? null : n.includes("dark") || n === "vscode-high-contrast";
}
// search/transport/http.ts
function sr(e, t) {
	let n = async (t, n) => {
		let r;
		try {
			r = await fetch(new URL(t, e), {
				...n,
				credentials: "same-origin"
			});
		} catch (e) {
			throw e instanceof DOMException && e.name === "AbortError" ? e : new Q("The search service cannot be reached. Check that it runs, then try again.");
		}
		if (r.status === 401) throw new Q("Sign in to search.", !0);
		return r;
	}, r = async (e, t) => (await n(e, t)).json().catch(() => null);
	return {
		session: cr(r, t),
		graphql: async (e, t, n) => Ht(await r("graphql", dr(JSON.stringify({
			query: e,
			variables: t
		}), "application/json", n))),
		picture: async (e, t, r) => {
			let i = await n(fr(e, t), r ? { signal: r } : {});
			if (i.ok) return i.blob();
			throw new Q(W(U(await i.json().catch(() => null), "error")) || "The picture cannot be shown.");
		},
		upload: async (e, t) => Ut(await r("uploads", dr(e, "application/dicom", t)))
	};
}
function cr(e, t) {
	let n = (e) => ({
		signedIn: U(e, "signed_in") === !0,
		needed: W(U(e, "kind")) !== "off",
		name: W(U(e, "name")),
		at: /^\/[a-z-]+$/.test(W(U(e, "sign_in"))) ? W(U(e, "sign_in")) : "",
		problem: ""
	}), r = async (t) => {
		let r = await e("session", dr(JSON.stringify({ token: t }), "application/json"));
		if (!H(r) || r.signed_in !== !0) throw new Q("This token was refused.", !0);
		return n(r);
	};
	return {
		open: async () => {
			let i = lr(t);
			i !== "" && await r(i).catch(() => void 0);
			let a = ur(t);
			return {
				...n(await e("session", {})),
				problem: a
			};
		},
		signIn: r,
		signOut: async () => n(await e("session", { method: "DELETE" }))
	};
}
function lr({ location: e, history: t }) {
	let n = /^#token=([^&]{1,4000})$/.exec(e.hash);
	if (!n?.[1]) return "";
	t.replaceState(null, "", "#/");
	try {
		return decodeURIComponent(n[1]);
	} catch {
		return n[1];
	}
}
function ur({ location: e, history: t }) {
	let n = /^#sign-in=([a-z-]{1,40})$/.exec(e.hash);
	return n?.[1] ? (t.replaceState(null, "", "#/"), n[1]) : "";
}
function dr(e, t, n) {
	return {
		method: "POST",
		body: e,
		headers: { "Content-Type": t },
		...n && { signal: n }
	};
}
function fr(e, t) {
	return `thumb/${encodeURIComponent(e)}.png${t === "large" ? `?px=${Bt}` : ""}`;
}
// search/transport/pictures.ts
var pr = 400, mr = class {
	transport;
	kept = /* @__PURE__ */ new Map();
	constructor(e) {
		this.transport = e;
	}
	address(e, t) {
		let n = `${t} ${e}`, r = this.kept.get(n);
		if (r) return r;
		let i = this.transport.picture(e, t).then((e) => URL.createObjectURL(e));
		if (this.kept.set(n, i), i.catch(() => this.kept.delete(n)), this.kept.size > pr) {
			let [e, t] = [...this.kept][0];
			this.kept.delete(e), t.then((e) => URL.revokeObjectURL(e));
		}
		return i;
	}
	clear() {
		for (let e of this.kept.values()) e.then((e) => URL.revokeObjectURL(e)).catch(() => void 0);
		this.kept.clear();
	}
}, hr = 6e4;
function gr(e, t = hr) {
	let n = /* @__PURE__ */ new Map(), r = Math.random().toString(36).slice(2), i = 0, a = (e, t = []) => {
		let r = String(e?.id ?? "");
		n.get(r)?.resolve([e, t]), n.delete(r);
	};
	e.on("msg:custom", a);
	let o = async (a, o, s) => {
		let c = `${r}-${i += 1}`, l, u = () => n.get(c)?.reject(new DOMException("aborted", "AbortError"));
		try {
			return await new Promise((r, i) => {
				n.set(c, {
					resolve: r,
					reject: i
				}), s?.addEventListener("abort", u, { once: !0 }), l = setTimeout(() => i(new Q("The kernel did not answer. Run the cell again, or wait until the kernel is idle.")), t), e.send({
					...a,
					id: c
				}, void 0, o);
			});
		} finally {
			clearTimeout(l), s?.removeEventListener("abort", u), n.delete(c);
		}
	};
	return {
		transport: {
			graphql: async (e, t, n) => {
				let [r] = await o({
					kind: "graphql",
					query: e,
					variables: t
				}, [], n);
				return Ht(r.answer);
			},
			picture: async (e, t, n) => {
				let [r, i] = await o({
					kind: "picture",
					image_id: e,
					px: t === "large" ? Bt : null
				}, [], n), a = i[0];
				if (!a) throw new Q(String(r.error ?? "There is no picture of this image."));
				return new Blob([a], { type: "image/png" });
			},
			upload: async (e, t) => {
				let [n] = await o({ kind: "upload" }, [await e.arrayBuffer()], t), { answer: r, error: i } = n;
				return Ut({
					error: i,
					...r
				});
			}
		},
		close: () => e.off("msg:custom", a)
	};
}
// search/main.tsx
function _r(e, { transport: t, window: n, onHits: r }) {
	let i = new rr(n), a = new ir(), o = new mr(t);
	e.classList.add("dicom-search");
	let s = ar(e);
	return e.replaceChildren(), N(/* @__PURE__ */ K(Zn, { host: {
		transport: t,
		pictures: o,
		navigation: i,
		selection: a,
		onHits: r
	} }), e), {
		selection: a,
		close: () => {
			N(null, e), s(), i.close(), o.clear();
		}
	};
}
function vr({ model: e, el: t }) {
	let { transport: n, close: r } = gr(e), i = document.createElement("div");
	i.dataset.lmSuppressShortcuts = "true", t.append(i);
	let a = (t, n) => {
		e.set(t, n), e.save_changes();
	}, o = _r(i, {
		transport: n,
		window: null,
		onHits: (e, t) => a("_hits", {
			kind: e,
			hits: t.map(({ id: e, score: t }) => ({
				id: e,
				score: t
			}))
		})
	}), s = () => o.selection.set(e.get("_selected") ?? []);
	s(), e.on("change:_selected", s);
	let c = o.selection.subscribe((e) => a("_selected", [...e])), l = () => void (i.style.maxHeight = `${Number(e.get("height")) || 720}px`);
	return l(), e.on("change:height", l), () => {
		e.off("change:_selected", s), e.off("change:height", l), c(), o.close(), r();
	};
}
var yr = typeof document > "u" ? null : document.getElementById("dicom-workflow-search");
yr && _r(yr, {
	transport: sr(new URL("./", location.href).href, window),
	window,
	onHits: () => void 0
});
var br = { render: vr };
export { br as default };

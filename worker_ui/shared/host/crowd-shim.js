/*
 * Crowd elements without AWS: the part of https://assets.crowd.aws/crowd-html-elements.js that worker templates of this
 * package and of the published radiograph sample use. A host replaces that script's address by this one's and adds two
 * elements to the head of the rendered page:
 *
 *   <meta name="task-answer-url" content="/...">   where the answer is posted, same origin
 *   <meta name="task-csrf" content="...">          sent back in the header X-CSRF-Token
 *
 * The answer is sent as JSON, {"answerContent": {name: value, ...}}, with the values that Ground Truth gives:
 *   crowd-input, crowd-text-area    text; left out when empty
 *   crowd-checkbox, native checkbox {"<value or on>": true|false}, one object for all of a name
 *   crowd-radio-button, radio       {"<value or on>": true|false}, one object for all of a name
 *   hidden input, select            text
 *   other native input, textarea    text; left out when empty
 * and {"accepted": true, "next": "/..."} opens the next task. Any other response leaves the page and its marks unchanged.
 */
(function () {
  'use strict';

  var SEND_TIMEOUT_MS = 60000;

  function meta(name) {
    var element = document.querySelector('meta[name="' + name + '"]');
    return element ? element.content : '';
  }

  function whenParsed(action) {
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', action, { once: true });
    else action();
  }

  function make(tag, properties, parent) {
    var element = document.createElement(tag);
    Object.assign(element, properties);
    if (parent) parent.appendChild(element);
    return element;
  }

  /* Elements are set up when their children have been parsed, once. */
  class CrowdElement extends HTMLElement {
    connectedCallback() {
      whenParsed(() => {
        if (this._ready || !this.isConnected) return;
        this._ready = true;
        this.setUp();
      });
    }

    setUp() {}
  }

  class CrowdForm extends CrowdElement {
    setUp() {
      if (!this.querySelector('crowd-button[form-action="submit"], button[type="submit"], input[type="submit"]')) {
        var button = make('crowd-button', { textContent: 'Submit' });
        button.setAttribute('form-action', 'submit');
        button.setAttribute('variant', 'primary');
        this.appendChild(button);
      }
      this._problem = make('p', { className: 'crowd-problem', hidden: true }, this);
      this._problem.setAttribute('role', 'alert');
      this.addEventListener('click', (event) => {
        if (event.target.closest('button[type="submit"], input[type="submit"]')) {
          event.preventDefault();
          this.submit();
        }
      });
    }

    /* The form as Ground Truth hands it to the requester: one flat object by name. */
    get value() {
      var answer = {};
      var put = function (name, value) {
        Object.defineProperty(answer, name, { value: value, enumerable: true, configurable: true, writable: true });
      };
      this.querySelectorAll('[name]').forEach(function (element) {
        var name = element.getAttribute('name'), kind = element.localName, type = (element.type || '').toLowerCase();
        if (!name || element.disabled || element.closest('[data-crowd-part]')) return;
        if (kind === 'crowd-checkbox' || kind === 'crowd-toggle-button' || kind === 'crowd-radio-button' ||
            (kind === 'input' && (type === 'checkbox' || type === 'radio'))) {
          var started = Object.prototype.hasOwnProperty.call(answer, name) && typeof answer[name] === 'object';
          var group = started ? answer[name] : {};
          group[element.getAttribute('value') || 'on'] = Boolean(element.checked);
          put(name, group);
        } else if ((kind === 'input' && type === 'hidden') || kind === 'select') {
          put(name, element.value);
        } else if (kind === 'crowd-input' || kind === 'crowd-text-area' || kind === 'textarea' ||
                   (kind === 'input' && !/^(submit|button|reset|file|image)$/.test(type))) {
          var text = String(element.value).replace(/\r\n?/g, '\n');
          if (text !== '') put(name, text);
        }
      });
      return answer;
    }

    get _submittableValue() { return this.value; }

    submit() {
      if (this._busy) return;
      var invalid = Array.from(this.querySelectorAll('input, textarea, select')).find(function (control) {
        return control.willValidate && !control.checkValidity();
      });
      if (invalid) { invalid.reportValidity(); return; }
      /* onsubmit handlers of a template run here; they fill hidden inputs, or stop the submission. */
      if (!this.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true }))) return;
      this._send(this.value);
    }

    _send(answer) {
      var address = meta('task-answer-url');
      if (!address) { this._tell('This is a preview: there is nowhere to send the answer.'); return; }
      this._setBusy(true);
      this._tell('');
      fetch(address, {
        method: 'POST',
        credentials: 'same-origin',
        redirect: 'error',
        headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': meta('task-csrf') },
        body: JSON.stringify({ answerContent: answer }),
        signal: AbortSignal.timeout(SEND_TIMEOUT_MS)
      }).then(function (response) {
        return response.json().catch(function () { return {}; }).then(function (body) {
          return { status: response.status, body: body && typeof body === 'object' ? body : {} };
        });
      }).then((result) => {
        if (result.status === 200 && result.body.accepted === true) { this._goOn(result.body.next); return; }
        var reason = [result.body.error, result.body.detail].find(function (text) { return typeof text === 'string'; });
        this._failed(reason || 'The server answered ' + result.status + '.',
          result.status === 401 || result.status === 403
            ? ' Sign in again in another tab, then submit here once more.'
            : ' Submit again in a moment.');
      }, () => this._failed('The answer could not be sent.', ' Check the connection and submit again.'));
    }

    _failed(reason, advice) {
      this._setBusy(false);
      this._tell(reason + advice + ' Nothing on this page is lost.');
    }

    _goOn(next) {
      this.dispatchEvent(new CustomEvent('crowd-answer-accepted', { bubbles: true }));
      var target = typeof next === 'string' && /^\/(?![/\\])/.test(next) ? new URL(next, location.origin) : null;
      if (target && target.origin === location.origin) location.assign(target.href);
      else this._tell('The answer was accepted.');
    }

    _setBusy(busy) {
      this._busy = busy;
      this.setAttribute('aria-busy', String(busy));
      this.querySelectorAll('crowd-button[form-action="submit"]').forEach(function (button) { button.disabled = busy; });
    }

    _tell(text) {
      this._problem.textContent = text;
      this._problem.hidden = !text;
    }
  }

  class CrowdButton extends CrowdElement {
    setUp() {
      var inner = make('button', { type: 'button' });
      inner.append(...this.childNodes);
      inner.disabled = this.hasAttribute('disabled');
      this.appendChild(inner);
      this._inner = inner;
      if (this.hasAttribute('disabled')) this.disabled = true;
      this.addEventListener('click', (event) => {
        if (this.disabled) { event.stopImmediatePropagation(); return; }
        if (this.getAttribute('form-action') === 'submit' && !event.defaultPrevented) {
          var form = this.closest('crowd-form');
          if (form) form.submit();
        }
      });
    }

    get disabled() { return this.hasAttribute('disabled'); }

    set disabled(on) {
      this.toggleAttribute('disabled', Boolean(on));
      if (this._inner) this._inner.disabled = Boolean(on);
    }
  }

  /* A labeled native control inside; attributes of the crowd element apply to it. */
  class CrowdField extends CrowdElement {
    setUp() {
      var label = make('label', {}, this);
      if (this.getAttribute('label')) make('span', { textContent: this.getAttribute('label') }, label);
      this._control = this.makeControl();
      ['placeholder', 'required', 'disabled', 'readonly', 'autofocus', 'pattern', 'rows'].forEach((name) => {
        if (this.hasAttribute(name)) this._control.setAttribute(name, this.getAttribute(name));
      });
      if (this.hasAttribute('max-length')) this._control.maxLength = Number(this.getAttribute('max-length'));
      if (this.hasAttribute('min-length')) this._control.minLength = Number(this.getAttribute('min-length'));
      this._control.value = this._early === undefined ? this.getAttribute('value') || '' : this._early;
      label.appendChild(this._control);
    }

    get value() {
      if (this._control) return this._control.value;
      return this._early === undefined ? this.getAttribute('value') || '' : this._early;
    }

    set value(text) {
      if (this._control) this._control.value = text;
      else this._early = text;
    }

    get disabled() { return this.hasAttribute('disabled'); }

    get _submittableValue() { return this.value; }
  }

  class CrowdInput extends CrowdField {
    makeControl() { return make('input', { type: this.getAttribute('type') || 'text' }); }
  }

  class CrowdTextArea extends CrowdField {
    makeControl() { return make('textarea', {}); }
  }

  class CrowdTick extends CrowdElement {
    setUp() {
      var label = make('label', {}), words = make('span', {});
      words.append(...this.childNodes);
      this._control = make('input', { type: this.kind, checked: this.checked }, label);
      this._control.disabled = this.hasAttribute('disabled');
      this._control.required = this.hasAttribute('required');
      if (this.kind === 'radio') this._control.name = 'crowd-part-' + (this.getAttribute('name') || '');
      this._control.setAttribute('data-crowd-part', '');
      label.appendChild(words);
      this.appendChild(label);
    }

    get checked() {
      if (this._control) return this._control.checked;
      return this._early === undefined ? this.hasAttribute('checked') : this._early;
    }

    set checked(on) {
      if (this._control) this._control.checked = Boolean(on);
      else this._early = Boolean(on);
    }

    get disabled() { return this.hasAttribute('disabled'); }

    get value() { return this.getAttribute('value') || 'on'; }

    get _submittableValue() { return { [this.value]: this.checked }; }
  }

  class CrowdCheckbox extends CrowdTick {
    get kind() { return 'checkbox'; }
  }

  class CrowdRadioButton extends CrowdTick {
    get kind() { return 'radio'; }
  }

  class CrowdRadioGroup extends CrowdElement {
    setUp() { this.setAttribute('role', 'radiogroup'); }
  }

  class CrowdInstructions extends CrowdElement {
    setUp() {
      var box = make('details', { open: this.localName === 'short-instructions' });
      make('summary', { textContent: this.getAttribute('header') || 'Instructions' }, box);
      box.append(...this.childNodes);
      this.appendChild(box);
    }
  }

  /* A constructed style sheet is not an inline style, so a content security policy with a nonce lets it pass. */
  var sheet = new CSSStyleSheet();
  sheet.replaceSync(
    'crowd-form { display: block; }' +
    'crowd-button { display: inline-block; }' +
    'crowd-button > button { font: inherit; padding: 8px 18px; border: 1px solid #8d99a5; border-radius: 6px;' +
    ' background: #fff; color: #17202a; cursor: pointer; }' +
    'crowd-button[variant="primary"] > button, crowd-button[form-action="submit"] > button {' +
    ' background: #1a5a96; border-color: #1a5a96; color: #fff; font-weight: 600; }' +
    'crowd-button > button:focus-visible { outline: 3px solid #3f8fdc; outline-offset: 2px; }' +
    'crowd-button > button:disabled { opacity: .55; cursor: default; }' +
    'crowd-input, crowd-text-area, crowd-checkbox, crowd-radio-button { display: block; margin: 6px 0; }' +
    'crowd-input span, crowd-text-area span { display: block; }' +
    'crowd-input input, crowd-text-area textarea { font: inherit; width: 100%; max-width: 60ch; padding: 6px 8px; }' +
    '.crowd-problem { position: fixed; left: 50%; bottom: 76px; transform: translateX(-50%); z-index: 9;' +
    ' max-width: min(60ch, 92vw); margin: 0;' +
    ' padding: 10px 14px; background: #fff; color: #7d1710; border: 1px solid #b3261e; border-radius: 6px;' +
    ' box-shadow: 0 4px 18px rgba(0,0,0,.25);' +
    ' font: 15px/1.45 system-ui, sans-serif; }' +
    '.crowd-problem[hidden] { display: none; }'
  );
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

  var ELEMENTS = {
    'crowd-form': CrowdForm, 'crowd-button': CrowdButton, 'crowd-input': CrowdInput, 'crowd-text-area': CrowdTextArea,
    'crowd-checkbox': CrowdCheckbox, 'crowd-toggle-button': class extends CrowdCheckbox {},
    'crowd-radio-button': CrowdRadioButton,
    'crowd-radio-group': CrowdRadioGroup, 'short-instructions': CrowdInstructions,
    'full-instructions': class extends CrowdInstructions {}
  };
  Object.keys(ELEMENTS).forEach(function (name) { customElements.define(name, ELEMENTS[name]); });

  /* After every element has been set up: their own listeners for this moment were added before this one. */
  whenParsed(function () {
    setTimeout(function () { document.dispatchEvent(new CustomEvent('all-crowd-elements-ready', { bubbles: true })); }, 0);
  });
})();

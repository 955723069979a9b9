/** Light or dark, as the notebook's own theme is, or else as the system prefers. */

/** Keep `data-theme` of an element up to date; returns what stops it. */
export function followTheme(element: HTMLElement): () => void {
  const system = typeof matchMedia === 'undefined' ? null : matchMedia('(prefers-color-scheme: dark)');
  const apply = (): void => {
    element.dataset['theme'] = (notebookIsDark(document.body) ?? system?.matches ?? false) ? 'dark' : 'light';
  };
  apply();
  system?.addEventListener('change', apply);
  const observer = new MutationObserver(apply);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ['class', 'data-jp-theme-light', 'data-vscode-theme-kind'],
  });
  return () => {
    system?.removeEventListener('change', apply);
    observer.disconnect();
  };
}

/** What JupyterLab or VS Code say of their theme; null anywhere else. */
function notebookIsDark(body: HTMLElement): boolean | null {
  const jupyter = body.dataset['jpThemeLight'];
  if (jupyter !== undefined) return jupyter === 'false';
  const code = body.dataset['vscodeThemeKind'];
  if (code !== undefined) return code.includes('dark') || code === 'vscode-high-contrast';
  return null;
}

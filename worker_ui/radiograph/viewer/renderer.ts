/** Chooses the renderer: WebGL, or canvas where WebGL is missing or fails. */

import { ImageError } from '../../shared/pixels/radiograph-image';
import { CanvasRenderer } from './canvas';
import { CornerstoneRenderer } from './cornerstone';
import type { Renderer, Scene } from './scene';

function hasWebGl(): boolean {
  try {
    const context = document.createElement('canvas').getContext('webgl2');
    context?.getExtension('WEBGL_lose_context')?.loseContext(); // browsers limit the number of contexts
    return context !== null;
  } catch {
    return false;
  }
}

/** Renders with WebGL, and with the canvas from the moment that WebGL fails. */
export class ImageRenderer implements Renderer {
  private inner: Renderer;
  private last: Scene | null = null;

  /** Throws an ImageError where there is neither. */
  constructor(private readonly element: HTMLElement) {
    this.inner = this.best();
  }

  get kind(): Renderer['kind'] {
    return this.inner.kind;
  }

  draw(scene: Scene): void {
    this.last = scene;
    this.inner.draw(scene);
  }

  destroy(): void {
    this.inner.destroy();
  }

  private best(): Renderer {
    if (!hasWebGl()) return this.plain();
    try {
      return new CornerstoneRenderer(this.element, () => this.fallBack());
    } catch {
      return this.plain(); // a driver may report WebGL and then refuse it
    }
  }

  private plain(): Renderer {
    this.element.replaceChildren();
    try {
      return new CanvasRenderer(this.element);
    } catch {
      throw new ImageError(
        'webgl',
        'This browser cannot draw images here. Use another browser, or report the image as not displayed.',
      );
    }
  }

  private fallBack(): void {
    if (this.inner.kind === 'canvas') return;
    try {
      this.inner.destroy();
    } catch {
      // The context is lost already; only the listeners had to be removed.
    }
    this.inner = this.plain();
    if (this.last) this.inner.draw(this.last);
  }
}

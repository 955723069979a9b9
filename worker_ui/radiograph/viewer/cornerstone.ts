/** Films drawn by cornerstone3D: pixels go to the graphics card once, window and place are a camera and two numbers. */

import { cache, Enums, eventTarget, imageLoader, init, metaData, RenderingEngine, type StackViewport, type Types } from '@cornerstonejs/core';

import type { Film } from '../../shared/pixels/radiograph-image';
import type { Renderer, Scene } from './scene';

let engine: RenderingEngine | null = null;
let count = 0;

/** Slabs are flat: any distance in front of the film will do. */
const DISTANCE = 100;

function start(): RenderingEngine {
  init({ rendering: { webGlContextCount: 2 } } as Parameters<typeof init>[0]); // two viewports at most
  // Without a series the renderer gives up, silently; of the modality it only wants to know that it is not PET.
  metaData.addProvider((type: string, imageId: string) =>
    type === 'generalSeriesModule' && String(imageId).endsWith(':film') ? { modality: 'DX' } : undefined);
  return new RenderingEngine('films');
}

export class CornerstoneRenderer implements Renderer {
  readonly kind = 'webgl';
  private readonly id = `film-${(count += 1)}`;
  private readonly viewport: StackViewport;
  private next: Scene | null = null;
  private asked: Film | null = null;
  private loaded: Film | null = null;
  private applied: Scene | null = null;
  private size = '';

  /** `onFailure` is told when the film cannot be drawn after all, or when the graphics card goes away. */
  constructor(element: HTMLElement, private readonly onFailure: () => void) {
    engine ??= start();
    engine.enableElement({
      viewportId: this.id,
      element: element as HTMLDivElement,
      type: Enums.ViewportType.STACK,
      defaultOptions: { background: [0, 0, 0] },
    });
    this.viewport = engine.getViewport(this.id) as StackViewport;
    eventTarget.addEventListener(Enums.Events.WEBGL_CONTEXT_LOST, onFailure);
  }

  draw(scene: Scene): void {
    this.next = scene;
    if (scene.film === this.asked) {
      this.apply();
      return;
    }
    this.asked = scene.film;
    this.load(scene.film).then(() => this.apply()).catch(this.onFailure);
  }

  destroy(): void {
    eventTarget.removeEventListener(Enums.Events.WEBGL_CONTEXT_LOST, this.onFailure);
    engine?.disableElement(this.id);
  }

  private async load(film: Film): Promise<void> {
    const imageId = `${this.id}-${(count += 1)}:film`;
    // World millimetres are image pixels, the aspect of a pixel aside: what is exact in pixels stays exact on the screen.
    const image = imageLoader.createAndCacheLocalImage(imageId, {
      scalarData: film.values as Types.PixelDataTypedArray,
      dimensions: [film.columns, film.rows],
      spacing: [film.pixelAspect, 1],
      origin: [0, 0, 0],
      direction: [1, 0, 0, 0, 1, 0, 0, 0, 1] as unknown as Types.Mat3,
      frameOfReferenceUID: imageId,
    });
    // Left at zero, the first window has its ends swapped, and the film stays inverted whatever is said later.
    Object.assign(image, { windowCenter: film.initial.center, windowWidth: film.initial.width });
    await this.viewport.setStack([imageId]);
    // It resolves after a failure too; then there is nothing to draw.
    if (!this.viewport.getDefaultActor()) throw new Error('the renderer did not take the film');
    // The film is held by whoever shows it; a cache of films seen once would only fill memory.
    cache.removeImageLoadObject(imageId, { force: true });
    this.loaded = film;
    this.applied = null;
  }

  private apply(): void {
    const scene = this.next;
    if (!scene || scene.film !== this.loaded) return;
    const size = `${scene.size.width} ${scene.size.height} ${devicePixelRatio}`;
    if (size !== this.size) {
      this.size = size;
      engine?.resize(true, false);
      this.applied = null; // it has forgotten where the film lay
    }
    const { film, view, window } = scene, before = this.applied;
    // Each of these makes the renderer work out much; a drag changes one of them.
    if (!before || before.window !== window || before.inverted !== scene.inverted) {
      const [lower, upper] = [window.center - window.width / 2, window.center + window.width / 2];
      this.viewport.setProperties({ voiRange: { lower, upper }, invert: scene.inverted });
    }
    if (!before || before.film !== film || before.view !== view || before.size !== scene.size) this.look(scene);
    this.applied = scene;
    this.viewport.render();
  }

  private look({ film, view, size }: Scene): void {
    // Corner origin: the middle of the first pixel is at (0.5, 0.5) for us and at 0 for the renderer.
    const focalPoint: Types.Point3 = [(view.center[0] - 0.5) * film.pixelAspect, view.center[1] - 0.5, 0];
    const turn = (view.rotation_deg * Math.PI) / 180;
    const up: Types.Point3 = [-Math.round(Math.sin(turn)), -Math.round(Math.cos(turn)), 0];
    // Seen from behind, an image is its mirror image.
    const normal: Types.Point3 = [0, 0, view.mirrored ? 1 : -1];
    this.viewport.setCamera({
      focalPoint,
      viewUp: up,
      viewPlaneNormal: normal,
      position: [focalPoint[0], focalPoint[1], normal[2] * DISTANCE],
      parallelProjection: true,
      parallelScale: size.height / 2 / view.zoom,
    });
  }
}

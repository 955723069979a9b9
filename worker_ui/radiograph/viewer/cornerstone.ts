/** Renderer with cornerstone3D (WebGL): pixels are uploaded once, window and view are set by camera and properties. */

import {
  cache,
  Enums,
  eventTarget,
  imageLoader,
  init,
  metaData,
  RenderingEngine,
  type StackViewport,
  type Types,
} from '@cornerstonejs/core';

import type { RadiographImage } from '../../shared/pixels/radiograph-image';
import type { Renderer, Scene } from './scene';

let engine: RenderingEngine | null = null;
let count = 0;

/** Any distance works, because the image is flat. */
const DISTANCE = 100;

function start(): RenderingEngine {
  init({ rendering: { webGlContextCount: 2 } } as Parameters<typeof init>[0]); // two viewports at most
  // Without a series module cornerstone fails silently; it only checks that the modality is not PET.
  metaData.addProvider((type: string, imageId: string) =>
    type === 'generalSeriesModule' && String(imageId).endsWith(':image') ? { modality: 'DX' } : undefined,
  );
  return new RenderingEngine('radiographs');
}

export class CornerstoneRenderer implements Renderer {
  readonly kind = 'webgl';
  private readonly id = `viewport-${(count += 1)}`;
  private readonly viewport: StackViewport;
  private next: Scene | null = null;
  private requested: RadiographImage | null = null;
  private loaded: RadiographImage | null = null;
  private applied: Scene | null = null;
  private size = '';

  /** `onFailure` is called when the image cannot be drawn, or when the WebGL context is lost. */
  constructor(
    element: HTMLElement,
    private readonly onFailure: () => void,
  ) {
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
    if (scene.image === this.requested) {
      this.apply();
      return;
    }
    this.requested = scene.image;
    this.load(scene.image)
      .then(() => this.apply())
      .catch(this.onFailure);
  }

  destroy(): void {
    eventTarget.removeEventListener(Enums.Events.WEBGL_CONTEXT_LOST, this.onFailure);
    engine?.disableElement(this.id);
  }

  private async load(image: RadiographImage): Promise<void> {
    const imageId = `${this.id}-${(count += 1)}:image`;
    // One world unit is one image row, so that pixel coordinates stay exact on the screen.
    const local = imageLoader.createAndCacheLocalImage(imageId, {
      scalarData: image.values as Types.PixelDataTypedArray,
      dimensions: [image.columns, image.rows],
      spacing: [image.pixelAspect, 1],
      origin: [0, 0, 0],
      direction: [1, 0, 0, 0, 1, 0, 0, 0, 1] as unknown as Types.Mat3,
      frameOfReferenceUID: imageId,
    });
    // With the default of zero the ends of the first window are swapped, and the image stays inverted.
    Object.assign(local, { windowCenter: image.initial.center, windowWidth: image.initial.width });
    await this.viewport.setStack([imageId]);
    // setStack resolves after a failure too; then there is no actor.
    if (!this.viewport.getDefaultActor()) throw new Error('the renderer did not take the image');
    // The viewport holds the image; every image is shown once, so a cache would only fill memory.
    cache.removeImageLoadObject(imageId, { force: true });
    this.loaded = image;
    this.applied = null;
  }

  private apply(): void {
    const scene = this.next;
    if (!scene || scene.image !== this.loaded) return;
    const size = `${scene.size.width} ${scene.size.height} ${devicePixelRatio}`;
    if (size !== this.size) {
      this.size = size;
      engine?.resize(true, false);
      this.applied = null; // a resize resets the camera
    }
    const { image, view, window } = scene,
      before = this.applied;
    // Both calls are expensive, and a drag changes only one of them.
    if (!before || before.window !== window || before.inverted !== scene.inverted) {
      const [lower, upper] = [window.center - window.width / 2, window.center + window.width / 2];
      this.viewport.setProperties({ voiRange: { lower, upper }, invert: scene.inverted });
    }
    if (!before || before.image !== image || before.view !== view || before.size !== scene.size) this.moveCamera(scene);
    this.applied = scene;
    this.viewport.render();
  }

  private moveCamera({ image, view, size }: Scene): void {
    // The center of the first pixel is (0.5, 0.5) in image coordinates and 0 in cornerstone's.
    const focalPoint: Types.Point3 = [(view.center[0] - 0.5) * image.pixelAspect, view.center[1] - 0.5, 0];
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

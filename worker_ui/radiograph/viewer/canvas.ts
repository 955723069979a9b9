/** Renderer without WebGL, as on many remote desktops: slower, with the same result. */

import type { RadiographImage } from '../../shared/pixels/radiograph-image';
import { toScreen } from '../../shared/state/view';
import type { Renderer, Scene } from './scene';

export class CanvasRenderer implements Renderer {
  readonly kind = 'canvas';
  private readonly canvas = document.createElement('canvas');
  private readonly context: CanvasRenderingContext2D;
  private readonly picture = document.createElement('canvas');
  private rendered = '';
  private image: RadiographImage | null = null;
  private frame = 0;

  constructor(element: HTMLElement) {
    const context = this.canvas.getContext('2d', { alpha: false });
    if (!context) throw new Error('no 2d context');
    this.context = context;
    element.append(this.canvas);
  }

  draw(scene: Scene): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint(scene));
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.canvas.remove();
  }

  private paint(scene: Scene): void {
    const { image, size } = scene;
    const settings = `${scene.window.center} ${scene.window.width} ${scene.inverted}`;
    if (image !== this.image || settings !== this.rendered) {
      this.render(scene);
      this.image = image;
      this.rendered = settings;
    }
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(size.width * ratio);
    this.canvas.height = Math.round(size.height * ratio);
    // The canvas has whole pixels and is stretched over the viewport, whose size may be fractional; the drawing layer is not.
    const across = this.canvas.width / size.width,
      down = this.canvas.height / size.height;
    const map = toScreen(scene.view, size, image.pixelAspect);
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.setTransform(map.a * across, map.b * down, map.c * across, map.d * down, map.e * across, map.f * down);
    this.context.imageSmoothingQuality = 'high';
    this.context.drawImage(this.picture, 0, 0);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
  }

  private render({ image, window, inverted }: Scene): void {
    this.picture.width = image.columns;
    this.picture.height = image.rows;
    const context = this.picture.getContext('2d', { alpha: false });
    if (!context) return;
    const pixels = context.createImageData(image.columns, image.rows);
    const rgba = new Uint32Array(pixels.data.buffer);
    const slope = 255 / window.width,
      offset = 127.5 - window.center * slope;
    for (let at = 0; at < rgba.length; at += 1) {
      const level = Math.min(255, Math.max(0, (image.values[at] as number) * slope + offset + 0.5)) | 0;
      rgba[at] = 0xff000000 | ((inverted ? 255 - level : level) * 0x010101);
    }
    context.putImageData(pixels, 0, 0);
  }
}

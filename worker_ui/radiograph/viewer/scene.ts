/** The interface of the renderers. */

import type { RadiographImage, VoiWindow } from '../../shared/pixels/radiograph-image';
import type { Size, View } from '../../shared/state/view';

export interface Scene {
  readonly image: RadiographImage;
  readonly view: View;
  readonly window: VoiWindow;
  readonly inverted: boolean;
  readonly size: Size;
}

export interface Renderer {
  readonly kind: 'webgl' | 'canvas';
  /** Draw the scene now or before the next frame. */
  draw(scene: Scene): void;
  destroy(): void;
}

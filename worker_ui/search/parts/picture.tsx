/** Pictures of images, asked for when they come into view and kept while the page is open. */

import { useEffect, useRef, useState } from 'preact/hooks';

import { isAbort, type PictureSize, type Transport } from '../transport/transport';
import { useHost } from './host';

const MOST_KEPT = 400;

/** Picture addresses by image and size, the oldest first; an address works only in this document. */
export class Pictures {
  private readonly kept = new Map<string, Promise<string>>();

  constructor(private readonly transport: Transport) {}

  address(id: string, size: PictureSize): Promise<string> {
    const key = `${size} ${id}`;
    const known = this.kept.get(key);
    if (known) return known;
    const made = this.transport.picture(id, size).then((blob) => URL.createObjectURL(blob));
    this.kept.set(key, made);
    made.catch(() => this.kept.delete(key));
    if (this.kept.size > MOST_KEPT) {
      const [oldest, address] = [...this.kept][0] as [string, Promise<string>];
      this.kept.delete(oldest);
      void address.then((url) => URL.revokeObjectURL(url));
    }
    return made;
  }

  clear(): void {
    for (const address of this.kept.values()) void address.then((url) => URL.revokeObjectURL(url)).catch(() => undefined);
    this.kept.clear();
  }
}

interface Props {
  readonly id: string;
  readonly alt: string;
}

/** A thumbnail; its place keeps its size while the picture is not there. */
export function Thumbnail({ id, alt }: Props) {
  const { pictures } = useHost();
  const place = useRef<HTMLSpanElement>(null);
  const [address, setAddress] = useState('');
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let gone = false;
    setAddress('');
    setFailed(false);
    const load = (): void => {
      pictures.address(id, 'thumbnail').then(
        (url) => !gone && setAddress(url),
        (error: unknown) => !gone && !isAbort(error) && setFailed(true),
      );
    };
    const stop = whenInView(place.current, load);
    return () => {
      gone = true;
      stop();
    };
  }, [id, pictures]);
  return (
    <span ref={place} class="thumbnail">
      {address ? (
        <img src={address} alt={alt} draggable={false} onError={() => setFailed(true)} />
      ) : (
        <span class="no-picture" role="img" aria-label={alt}>
          {failed ? 'no picture' : ''}
        </span>
      )}
    </span>
  );
}

function whenInView(element: Element | null, then: () => void): () => void {
  if (!element || typeof IntersectionObserver === 'undefined') {
    then();
    return () => undefined;
  }
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      then();
    },
    { rootMargin: '300px' },
  );
  observer.observe(element);
  return () => observer.disconnect();
}

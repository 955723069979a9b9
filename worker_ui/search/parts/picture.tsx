/** A thumbnail, asked for when it comes into view. */

import { useEffect, useRef, useState } from 'preact/hooks';

import { isAbort } from '../transport/transport';
import { useHost } from './host';

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

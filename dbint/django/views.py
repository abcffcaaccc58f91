"""Views of dbint that a project puts into its URLs."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """dbint's metrics of this process, for Prometheus: OpenMetrics where the request accepts it.

    ``path("metrics", dbint.django.views.metrics)``; needs ``dbint[prometheus]``. Whoever can reach
    the address can read it: keep it inside, as any endpoint for metrics.
    """
    from dbint.metrics.prometheus import exposition  # only projects that have the view need prometheus_client

    body, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)
